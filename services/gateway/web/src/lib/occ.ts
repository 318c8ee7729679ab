import type { Leg } from "./types";

export interface OptionSymbol {
  root: string;
  /** ISO date. */
  expiration: string;
  type: "C" | "P";
  /** Dollars per share. */
  strike: number;
}

const OCC = /^([A-Z][A-Z0-9]{0,5}) {0,5}(\d{2})(\d{2})(\d{2})([CP])(\d{8})$/;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Reads a 21-character OCC symbol; null when it is not one. */
export function parseOcc(symbol: string): OptionSymbol | null {
  const match = symbol.length === 21 ? OCC.exec(symbol) : null;
  if (!match) return null;
  const [, root, year, month, day, type, strike] = match;
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > 31) return null;
  return {
    root: root!,
    expiration: `20${year}-${month}-${day}`,
    type: type as "C" | "P",
    strike: Number(strike) / 1000,
  };
}

/** `2026-12-24` as `24 Dec`. */
export function expiryWord(iso: string): string {
  const [, month, day] = iso.split("-");
  return `${Number(day)} ${MONTHS[Number(month) - 1] ?? "?"}`;
}

export function legWord(occ: string): string {
  const option = parseOcc(occ);
  return option ? `${expiryWord(option.expiration)} ${option.strike} ${option.type}` : occ;
}

export function isSale(leg: Leg): boolean {
  return leg.action.startsWith("Sell");
}

/** Strikes of a structure, sold before bought: `480/475 P`, or both sides of a condor. */
export function strikesWord(legs: Leg[]): string {
  const sides: string[] = [];
  for (const type of ["P", "C"] as const) {
    const strikes = [...legs]
      .sort((a, b) => Number(isSale(b)) - Number(isSale(a)))
      .map((leg) => parseOcc(leg.occ_symbol))
      .filter((option) => option?.type === type)
      .map((option) => String(option!.strike));
    if (strikes.length) sides.push(`${strikes.join("/")} ${type}`);
  }
  return sides.join("  ");
}

/** The same structure keeps its identity from one scan to the next. */
export function legsKey(legs: Leg[]): string {
  return legs.map((leg) => `${leg.action}${leg.quantity}${leg.occ_symbol}`).join("|");
}
