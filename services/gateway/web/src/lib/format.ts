import type { Decimal } from "./types";

export const MISSING = "—";
export const MINUS = "−";

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?$/;

/** Rounds a decimal string half to even on its digits; floats never touch a price. Null when it is not a number. */
export function roundDecimal(text: string, places: number): { negative: boolean; digits: string } | null {
  const match = DECIMAL.exec(text.trim());
  if (!match || !(match[2] || match[3])) return null;
  const whole = match[2] ?? "";
  const fraction = match[3] ?? "";
  const scale = fraction.length - Number(match[4] ?? 0);
  let value = BigInt(whole + fraction);
  if (scale > places) {
    const unit = 10n ** BigInt(scale - places);
    const rest = value % unit;
    value /= unit;
    if (rest * 2n > unit || (rest * 2n === unit && value % 2n === 1n)) value += 1n;
  } else {
    value *= 10n ** BigInt(places - scale);
  }
  return { negative: match[1] === "-" && value !== 0n, digits: value.toString().padStart(places + 1, "0") };
}

function grouped(digits: string, places: number): string {
  const whole = places ? digits.slice(0, -places) : digits;
  const groups = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return places ? `${groups}.${digits.slice(-places)}` : groups;
}

/** A decimal string or a float with a fixed number of decimals; `signed` puts + before what is above zero. */
export function decimal(value: Decimal | number | null | undefined, places = 2, signed = false): string {
  if (value === null || value === undefined) return MISSING;
  const rounded = typeof value === "number" ? fromFloat(value, places) : roundDecimal(value, places);
  if (!rounded) return MISSING;
  const zero = /^0*$/.test(rounded.digits);
  const sign = rounded.negative ? MINUS : signed && !zero ? "+" : "";
  return sign + grouped(rounded.digits, places);
}

function fromFloat(value: number, places: number): { negative: boolean; digits: string } | null {
  if (!Number.isFinite(value) || Math.abs(value) >= 1e21) return null;
  return roundDecimal(value.toFixed(places), places);
}

/** Dollars with the sign before the currency: −$1,735.00. */
export function dollars(value: Decimal | number | null | undefined, places = 0, signed = false): string {
  const text = decimal(value, places, signed);
  if (text === MISSING) return MISSING;
  return /^[+−]/.test(text) ? `${text[0]}$${text.slice(1)}` : `$${text}`;
}

/** A net order price in words: 1.25 cr, 0.40 db, 0.00 even. */
export function netPrice(value: Decimal | null | undefined): string {
  const text = decimal(value);
  if (text === MISSING) return MISSING;
  if (/^0\.0+$/.test(text)) return `${text} even`;
  return text.startsWith(MINUS) ? `${text.slice(1)} db` : `${text} cr`;
}

export function percent(fraction: number | null | undefined, places = 0): string {
  return fraction === null || fraction === undefined ? MISSING : `${decimal(fraction * 100, places)} %`;
}

export function count(value: number | null | undefined): string {
  return decimal(value, 0);
}

/** Direction of a number for word, arrow and colour; zero and missing have none. */
export function direction(value: Decimal | number | null | undefined): "up" | "down" | "flat" {
  const number = value === null || value === undefined ? NaN : Number(value);
  return number > 0 ? "up" : number < 0 ? "down" : "flat";
}

export const ARROW = { up: "▲", down: "▼", flat: "" } as const;

const PLACES_MAX = 6;

function scaled(value: number, unit: string): number {
  return unit === "probability" ? value * 100 : value;
}

/** A measured value beside its limit, with as many decimals as it takes not to look equal when it is not. */
export function beside(value: number | null, limit: number | null, unit: string): { value: string; limit: string } {
  const shown = value === null ? null : scaled(value, unit);
  const bound = limit === null ? null : scaled(limit, unit);
  let places = naturalPlaces(unit, bound, shown);
  let word = "";
  if (shown !== null && bound !== null && shown !== bound) {
    while (places <= PLACES_MAX && decimal(shown, places) === decimal(bound, places)) places += 1;
    if (places > PLACES_MAX) word = shown > bound ? "just over " : "just under ";
  }
  const exact = unit === "USD" || unit === "$" ? 2 : 4;
  const limitText = bound === null ? MISSING : trimmed(decimal(bound, Math.max(places, exact)));
  return { value: word ? word + limitText : decimal(shown, places), limit: limitText };
}

function naturalPlaces(unit: string, ...sizes: (number | null)[]): number {
  const known = sizes.filter((size) => size !== null);
  if (!unit.startsWith("%") && unit !== "probability" && unit !== "ratio" && known.every(Number.isInteger)) return 0;
  if (unit === "USD" || unit === "$") return known.some((size) => Math.abs(size) >= 1000) ? 0 : 2;
  return unit === "ratio" ? 3 : unit === "probability" ? 1 : 2;
}

function trimmed(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

export function unitWord(unit: string): string {
  if (unit === "probability") return "%";
  if (unit === "% of net liq a point") return "% of net liq/pt";
  return unit === "ratio" ? "" : unit;
}

/** A distance to a limit with its sign, in the unit of the value; never rounded to nothing. */
export function margin(value: number | null, unit: string): string {
  if (value === null) return MISSING;
  const shown = scaled(value, unit);
  let places = naturalPlaces(unit, shown);
  const invisible = () => shown !== 0 && /^0\.?0*$/.test(decimal(shown, places));
  while (places <= PLACES_MAX && invisible()) places += 1;
  if (invisible()) return "≈ 0";
  const word = unit === "probability" ? "points" : unit.startsWith("%") ? "%" : unit === "contracts" ? "" : unitWord(unit);
  return `${decimal(shown, places, true)}${word ? ` ${word}` : ""}`;
}

const TIME = new Intl.DateTimeFormat("en-GB", {
  timeZone: "America/New_York", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
});
const DAY = new Intl.DateTimeFormat("en-US", {
  timeZone: "America/New_York", weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});

/** Exchange time, hh:mm:ss. */
export function timeEt(iso: string | null | undefined): string {
  const at = iso ? Date.parse(iso) : NaN;
  return Number.isNaN(at) ? MISSING : TIME.format(at);
}

/** Weekday and exchange time. */
export function dayEt(iso: string | null | undefined): string {
  const at = iso ? Date.parse(iso) : NaN;
  return Number.isNaN(at) ? MISSING : `${DAY.format(at)} ET`;
}

/** A span in words: 12 s, 4:05, 2:14 h. */
export function span(milliseconds: number | null): string {
  if (milliseconds === null || !Number.isFinite(milliseconds)) return MISSING;
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
