import type { Candidate } from "./types";

/** How far a candidate is from passing: rules failed, then their misses relative to the limits. */
export function shortfall(candidate: Candidate): number {
  return candidate.rules.reduce((sum, rule) => {
    if (rule.passed) return sum;
    if (rule.value === null || rule.limit === null) return sum + 101;
    return sum + 1 + Math.min(100, Math.abs(rule.value - rule.limit) / (Math.abs(rule.limit) || 1));
  }, 0);
}

export function nearestFirst(candidates: Candidate[]): Candidate[] {
  const distance = new Map(candidates.map((each) => [each, shortfall(each)]));
  return [...candidates].sort(
    (a, b) => distance.get(a)! - distance.get(b)! || (a.candidate_id < b.candidate_id ? -1 : 1),
  );
}

/** Numbers in order, missing ones always last. */
export function byNumber<T>(rows: readonly T[], value: (row: T) => number | null, descending: boolean): T[] {
  return [...rows].sort((a, b) => {
    const left = value(a);
    const right = value(b);
    if (left === null || right === null) return Number(left === null) - Number(right === null);
    return descending ? right - left : left - right;
  });
}

/** Rows that moved, came or went between what is shown and what is known. */
export function changes(shown: readonly Candidate[], known: readonly Candidate[]): number {
  const place = new Map(known.map((each, index) => [each.candidate_id, index]));
  const kept = shown.filter((each, index) => place.get(each.candidate_id) === index).length;
  return Math.max(shown.length, known.length) - kept;
}
