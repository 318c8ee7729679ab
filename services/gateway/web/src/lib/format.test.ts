import { describe, expect, it } from "vitest";
import { beside, count, decimal, direction, dollars, margin, MISSING, netPrice, percent, span, timeEt } from "./format";

describe("decimal", () => {
  it.each([
    ["6.35", "6.35"],
    ["1.2500", "1.25"],
    ["1234567.5", "1,234,567.50"],
    ["-1735", "−1,735.00"],
    ["1E+2", "100.00"],
    ["25E-4", "0.00"],
    [".5", "0.50"],
  ])("shows %s as %s", (text, shown) => expect(decimal(text)).toBe(shown));

  it("rounds half to even on the digits, not on a float", () => {
    expect(decimal("1.005")).toBe("1.00");
    expect(decimal("1.015")).toBe("1.02");
    expect(decimal("90071992547409.935")).toBe("90,071,992,547,409.94");
  });

  it.each([["-0", 2], ["-0.00", 2], ["-0.004", 2], ["-0.4", 0]])("never shows %s as a negative zero", (text, places) => {
    expect(decimal(text, places)).not.toContain("−");
    expect(decimal(Number(text), places, true)).not.toMatch(/[+−]/);
  });

  it.each([null, undefined, "", "abc", "-", ".", Number.NaN, Infinity])("shows %s as missing", (value) => {
    expect(decimal(value)).toBe(MISSING);
    expect(dollars(value)).toBe(MISSING);
  });

  it("uses the true minus and never a hyphen", () => expect(decimal(-3.25)).toBe("\u22123.25"));
});

describe("dollars and net prices", () => {
  it("puts the sign before the currency", () => {
    expect(dollars("-1735.00", 2)).toBe("−$1,735.00");
    expect(dollars("2310", 0, true)).toBe("+$2,310");
    expect(dollars("0", 0, true)).toBe("$0");
  });

  it("says credit and debit in words", () => {
    expect(netPrice("1.25")).toBe("1.25 cr");
    expect(netPrice("-0.40")).toBe("0.40 db");
    expect(netPrice("0.00")).toBe("0.00 even");
    expect(netPrice("-0.001")).toBe("0.00 even");
    expect(netPrice(null)).toBe(MISSING);
  });
});

describe("beside a limit", () => {
  it("shows as many decimals as it takes to tell them apart", () => {
    expect(beside(9.004, 9, "$/pt")).toEqual({ value: "9.004", limit: "9" });
    expect(beside(0.64996, 0.65, "probability")).toEqual({ value: "64.996", limit: "65" });
    expect(beside(0.6495, 0.65, "probability")).toEqual({ value: "64.95", limit: "65" });
  });

  it("says which side a value is on that no decimals can show", () => {
    expect(beside(25.000000000000004, 25, "% of mid").value).toBe("just over 25");
    expect(margin(-4e-15, "% of mid")).toBe("≈ 0");
  });

  it("shows whole numbers whole", () => {
    expect(beside(7, 20, "positions")).toEqual({ value: "7", limit: "20" });
    expect(beside(63.64, 999.3636, "$")).toEqual({ value: "63.64", limit: "999.36" });
    expect(margin(284, "contracts")).toBe("+284");
  });

  it("keeps a missing value missing", () => expect(beside(null, 0.65, "probability").value).toBe(MISSING));

  it("signs margins and does not round them to nothing", () => {
    expect(margin(0.032, "probability")).toBe("+3.2 points");
    expect(margin(-0.0004, "ratio")).toBe("−0.0004");
    expect(margin(null, "s")).toBe(MISSING);
  });
});

describe("small things", () => {
  it("has a direction only when it is not zero", () => {
    expect([direction("0.00"), direction("-1"), direction(2), direction(null)]).toEqual(["flat", "down", "up", "flat"]);
  });
  it("counts", () => expect(count(13086)).toBe("13,086"));
  it("shows fractions as percent", () => expect([percent(0.684), percent(null)]).toEqual(["68 %", MISSING]));
  it("tells exchange time", () => {
    expect(timeEt("2026-11-24T19:02:11Z")).toBe("14:02:11");
    expect(timeEt("2026-11-24T05:02:11Z")).toBe("00:02:11");
    expect(timeEt(null)).toBe(MISSING);
  });
  it("tells spans", () => expect([12_900, 245_000, 8_040_000, null].map(span)).toEqual(["12 s", "4:05 min", "2:14 h", MISSING]));
});
