import { describe, expect, it } from "vitest";
import { payoffAtExpiration } from "./payoff";
import type { Leg } from "./types";

const leg = (action: Leg["action"], type: string, strike: number, expiration = "261224"): Leg => ({
  action,
  quantity: 1,
  occ_symbol: `SPY   ${expiration}${type}${String(strike * 1000).padStart(8, "0")}`,
});

const CONDOR = [
  leg("Sell to Open", "P", 480),
  leg("Buy to Open", "P", 475),
  leg("Sell to Open", "C", 515),
  leg("Buy to Open", "C", 520),
];

describe("payoff at expiration", () => {
  it("agrees with an iron condor worked out by hand", () => {
    // 1.60 credit, 5 wide, 2 units: keeps 320, risks (5 − 1.60) × 200 = 680
    const payoff = payoffAtExpiration(CONDOR, 2, 1.6, 500)!;
    expect(payoff.maxProfit).toBe(320);
    expect(payoff.maxLoss).toBe(680);
    expect(payoff.breakevens).toEqual([478.4, 516.6]);
    const at = (price: number) => payoff.points.find((point) => point.price === price)?.profit;
    expect([475, 480, 515, 520].map(at)).toEqual([-680, 320, 320, -680]);
    expect(payoff.points[0]!.profit).toBe(-680);
    expect(payoff.points.at(-1)!.profit).toBe(-680);
    expect(payoff.points[0]!.price).toBeLessThan(475);
    expect(payoff.points.at(-1)!.price).toBeGreaterThan(520);
  });

  it("agrees with a put credit spread worked out by hand", () => {
    const payoff = payoffAtExpiration(CONDOR.slice(0, 2), 1, 0.71, 500)!;
    expect([payoff.maxProfit, payoff.maxLoss, payoff.breakevens]).toEqual([71, 429, [479.29]]);
  });

  it("finds the breakeven of a debit and says when profit or loss has no bound", () => {
    const call = payoffAtExpiration([leg("Buy to Open", "C", 500)], 1, -3, 498)!;
    expect([call.maxProfit, call.maxLoss, call.breakevens]).toEqual([null, 300, [503]]);
    const naked = payoffAtExpiration([leg("Sell to Open", "C", 500)], 1, 3, 498)!;
    expect([naked.maxProfit, naked.maxLoss, naked.breakevens]).toEqual([300, null, [503]]);
  });

  it("knows that a put cannot lose more than its strike", () => {
    expect(payoffAtExpiration([leg("Sell to Open", "P", 50)], 1, 1, 55)!.maxLoss).toBe(4900);
  });

  it("keeps the underlying inside the picture", () => {
    for (const spot of [300, 700]) {
      const { points } = payoffAtExpiration(CONDOR, 1, 1, spot)!;
      expect(points[0]!.price).toBeLessThan(spot);
      expect(points.at(-1)!.price).toBeGreaterThan(spot);
    }
  });

  it("draws nothing for what it cannot read", () => {
    expect(payoffAtExpiration([{ ...CONDOR[0]!, occ_symbol: "?" }], 1, 1, 500)).toBeNull();
    expect(payoffAtExpiration([CONDOR[0]!, leg("Buy to Open", "P", 475, "270115")], 1, 1, 500)).toBeNull();
    expect(payoffAtExpiration(CONDOR, 1, Number.NaN, 500)).toBeNull();
  });
});
