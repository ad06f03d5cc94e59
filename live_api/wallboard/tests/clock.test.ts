import { expect, it } from "vitest";
import { ServerClock } from "../src/clock";

it("is this machine's until the server has spoken", () => {
  expect(new ServerClock().at(5_000)).toBe(5_000);
});

it("takes the message that was on the way for the shortest time", () => {
  const clock = new ServerClock();
  clock.heard(100_000, 40_050); // 50 ms on the way
  clock.heard(101_000, 41_400);
  clock.heard(102_000, 42_010);
  expect(clock.at(43_000)).toBe(43_000 + 59_990);
});

it("follows a clock that was set, after the messages of two spans", () => {
  const clock = new ServerClock();
  for (let second = 0; second < 30; second += 1) clock.heard(100_000 + second * 1000, second * 1000);
  const ahead = 3_600_000; // somebody sets this machine's clock forward
  for (let second = 30; second < 55; second += 1) clock.heard(100_000 + second * 1000, second * 1000 + ahead);
  expect(clock.at(55_000 + ahead)).toBe(155_000);
});
