import { describe, expect, it } from "vitest";
import { byNumber, changes, nearestFirst } from "./ranking";
import type { Candidate, RuleResult } from "./types";

const rule = (value: number | null, limit: number): RuleResult => ({
  rule: "pop_min", passed: value !== null && value >= limit, value, limit, comparison: ">=", margin: null, unit: "", detail: "",
});
const candidate = (candidate_id: string, ...rules: RuleResult[]) => ({ candidate_id, rules }) as Candidate;

describe("ranking", () => {
  it("puts the nearest miss first and a missing fact far away", () => {
    const far = candidate("far", rule(null, 1));
    const two = candidate("two", rule(0.9, 1), rule(0.9, 1));
    const one = candidate("one", rule(0.1, 1));
    expect(nearestFirst([far, two, one]).map((each) => each.candidate_id)).toEqual(["one", "two", "far"]);
  });

  it("sorts missing numbers last in both directions", () => {
    expect(byNumber([1, null, 3], (n) => n, true)).toEqual([3, 1, null]);
    expect(byNumber([1, null, 3], (n) => n, false)).toEqual([1, 3, null]);
  });

  it("counts rows that came, went or moved", () => {
    const [a, b, c] = ["a", "b", "c"].map((id) => candidate(id));
    expect(changes([a!, b!], [a!, b!])).toBe(0);
    expect(changes([a!, b!], [b!, a!])).toBe(2);
    expect(changes([a!], [a!, b!, c!])).toBe(2);
  });
});
