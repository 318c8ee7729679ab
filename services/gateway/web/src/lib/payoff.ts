import { isSale, parseOcc } from "./occ";
import type { Leg } from "./types";

const MULTIPLIER = 100;

export interface Point {
  /** Price of the underlying at expiration, $ per share. */
  price: number;
  /** Profit or loss of the whole quantity, dollars. */
  profit: number;
}

export interface Payoff {
  /** Corners of the payoff line from the left edge of the picture to the right one. */
  points: Point[];
  breakevens: number[];
  /** Dollars; null when unlimited. */
  maxProfit: number | null;
  /** Dollars, a magnitude; null when unlimited. */
  maxLoss: number | null;
}

/** Payoff at expiration. `credit` is $ per share, credit positive. Null when a leg cannot be read or expirations differ. */
export function payoffAtExpiration(legs: Leg[], quantity: number, credit: number, spot: number): Payoff | null {
  const parsed = legs.map((leg) => ({ option: parseOcc(leg.occ_symbol), size: (isSale(leg) ? -1 : 1) * leg.quantity }));
  const options = parsed.flatMap(({ option, size }) => (option ? [{ ...option, size }] : []));
  if (!options.length || options.length < legs.length || !Number.isFinite(credit)) return null;
  if (new Set(options.map((option) => option.expiration)).size > 1) return null;

  const profitAt = (price: number) => {
    const value = options.reduce((sum, { type, strike, size }) => {
      return sum + size * Math.max(0, type === "C" ? price - strike : strike - price);
    }, 0);
    return toCent((credit + value) * quantity * MULTIPLIER);
  };

  const strikes = [...new Set(options.map((option) => option.strike))].sort((a, b) => a - b);
  const low = strikes[0]!;
  const high = strikes[strikes.length - 1]!;
  const room = Math.max((high - low) * 0.6, Math.abs(spot - low) * 0.25, Math.abs(spot - high) * 0.25, high * 0.01);
  const left = Math.max(0, Math.min(low, spot) - room);
  const right = Math.max(high, spot) + room;

  const corners = [...new Set([left, ...strikes, right])].sort((a, b) => a - b);
  const points = corners.map((price) => ({ price, profit: profitAt(price) }));

  const rising = options.reduce((slope, { type, size }) => slope + (type === "C" ? size : 0), 0);
  const reachable = [0, ...strikes].map(profitAt);
  return {
    points,
    breakevens: crossings([0, ...strikes, right + high].map((price) => ({ price, profit: profitAt(price) }))),
    maxProfit: rising > 0 ? null : Math.max(...reachable),
    maxLoss: rising < 0 ? null : Math.max(0, -Math.min(...reachable)),
  };
}

function toCent(amount: number): number {
  return Math.round(amount * 100) / 100;
}

/** Prices where the line crosses zero. */
export function crossings(points: Point[]): number[] {
  const found: number[] = [];
  for (let i = 1; i < points.length; i += 1) {
    const a = points[i - 1]!;
    const b = points[i]!;
    if (a.profit * b.profit < 0) {
      const share = a.profit / (a.profit - b.profit);
      found.push(Math.round((a.price + share * (b.price - a.price)) * 10_000) / 10_000);
    } else if (b.profit === 0 && a.profit !== 0) {
      found.push(b.price);
    }
  }
  return found;
}
