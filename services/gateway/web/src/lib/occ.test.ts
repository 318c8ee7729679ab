import { describe, expect, it } from "vitest";
import { legsKey, legWord, parseOcc, strikesWord } from "./occ";
import type { Leg } from "./types";

const leg = (action: Leg["action"], occ_symbol: string): Leg => ({ action, occ_symbol, quantity: 1 });

describe("OCC symbols", () => {
  it("reads root, expiration, type and strike", () => {
    expect(parseOcc("SPY   260804C00500000")).toEqual({ root: "SPY", expiration: "2026-08-04", type: "C", strike: 500 });
    expect(parseOcc("F     261218P00012500")?.strike).toBe(12.5);
    expect(parseOcc("BRKB1 261218P00480001")?.strike).toBe(480.001);
  });

  it.each(["SPY260804C00500000", "SPY   261304C00500000", "SPY   260800C00500000", "SPY   260804X00500000", "spy   260804C00500000", ""])(
    "refuses %j",
    (symbol) => expect(parseOcc(symbol)).toBeNull(),
  );

  it("names a contract, and shows what it cannot read as it is", () => {
    expect(legWord("SPY   261224P00480500")).toBe("24 Dec 480.5 P");
    expect(legWord("/ESZ6")).toBe("/ESZ6");
  });

  it("puts sold strikes first, puts before calls", () => {
    const condor = [
      leg("Buy to Open", "SPY   261224C00520000"),
      leg("Sell to Open", "SPY   261224C00515000"),
      leg("Buy to Open", "SPY   261224P00475000"),
      leg("Sell to Open", "SPY   261224P00480000"),
    ];
    expect(strikesWord(condor)).toBe("480/475 P  515/520 C");
    expect(strikesWord(condor.slice(2))).toBe("480/475 P");
  });

  it("keys a structure by its legs, so that a sale differs from a purchase", () => {
    const sold = [leg("Sell to Open", "SPY   261224P00480000")];
    expect(legsKey(sold)).not.toBe(legsKey([leg("Buy to Open", "SPY   261224P00480000")]));
  });
});
