import { describe, expect, it } from "vitest";
import { ageText, axisNumber, bigNumber, delayText, exactNumber, shortNumber, Zone } from "../src/format";

describe("numbers", () => {
  it.each([
    [0, "0"],
    [-0, "0"],
    [7, "7"],
    [48_213, "48,213"],
    [999_999, "999,999"],
    [999_999.6, "1.00M"],
    [1_234_567, "1.23M"],
    [12_345_678, "12.3M"],
    [999_600_000, "1.00B"],
    [-1_500, "-1,500"],
    [-2_500_000, "-2.50M"],
    [0.3421, "0.342"],
    [0.0004, "0"],
    [-0.0004, "0"],
    [3.14159, "3.14"],
    [9.996, "10.0"],
    [99.96, "100"],
    [312.4, "312"],
    [999.7, "1,000"],
    [5e15, "5.00e+15"],
  ])("%f is %s on a tile", (value, text) => {
    expect(bigNumber(value)).toBe(text);
  });

  it.each([
    [9_999, "9,999"],
    [9_999.4, "9,999"],
    [10_000, "10.0k"],
    [12_345, "12.3k"],
    [999_499, "999k"],
    [999_500, "1.00M"],
  ])("%f is %s in a legend", (value, text) => {
    expect(shortNumber(value)).toBe(text);
  });

  it.each([
    [0, "0"],
    [0.5, "0.5"],
    [100, "100"],
    [2_000, "2,000"],
    [10_000, "10k"],
    [12_500, "12.5k"],
    [1_050_000, "1.05M"],
    [1_000_000, "1M"],
    [-20_000, "-20k"],
  ])("%f is %s on an axis", (value, text) => {
    expect(axisNumber(value)).toBe(text);
  });

  it("keep all digits where there is room", () => {
    expect(exactNumber(1_234_567.125)).toBe("1,234,567.125");
  });
});

describe("ages", () => {
  it.each([
    [-50, "0 s"],
    [999, "0 s"],
    [2_000, "2 s"],
    [119_999, "119 s"],
    [120_000, "2 min"],
    [7_199_999, "119 min"],
    [7_200_000, "2 h"],
    [172_800_000, "2 d"],
    [3_653 * 86_400_000, "10 y"],
  ])("%d ms are %s", (age, text) => {
    expect(ageText(age)).toBe(text);
  });

  it("are finer for delays", () => {
    expect([delayText(420), delayText(9_900), delayText(12_000), delayText(-1)]).toEqual(["0.4 s", "9.9 s", "12 s", "0.0 s"]);
  });
});

describe("a time zone", () => {
  const noon = Date.UTC(2015, 8, 12, 12, 3, 22);

  it("tells the platform's time", () => {
    const zone = new Zone("Europe/Berlin");
    expect([zone.time(noon), zone.minute(noon), zone.dateAndYear(noon)]).toEqual(["14:03:22", "14:03", "12 Sept 2015"]);
    expect(zone.isUtc).toBe(false);
  });

  it("that no browser knows is UTC, and says so", () => {
    const zone = new Zone("Mars/Olympus");
    expect([zone.name, zone.time(noon), zone.isUtc]).toEqual(["UTC", "12:03:22", true]);
  });
});
