// Files made in the page: CSV, JSON and PNG.
import { h } from "./dom.js";
import { stepNames } from "./series.js";

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name.replace(/[^\p{L}\p{N}._-]+/gu, "-") });
  link.click();
  // The browser reads the blob after this turn of the loop.
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** A cell: quoted when it must be; what a sheet would take for a formula gets an apostrophe. */
function cell(value) {
  if (typeof value === "number") return String(value);
  let text = String(value ?? "");
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows of cells as CSV text. */
export const csvText = (rows) => rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";

/** All series of all models: id, time, model, mean and the quantiles. */
export function downloadCsv(results, stem) {
  const keys = [...new Set(results.runs.flatMap((run) => [...run.forecasts.values()].flatMap((one) => Object.keys(one.quantiles ?? {}))))].sort((a, b) => a - b);
  const rows = [["id", "timestamp", "model", "mean", ...keys]];
  for (const run of results.runs) {
    for (const one of results.asked.series) {
      const forecast = run.forecasts.get(one.id);
      if (!forecast) continue;
      const names = stepNames(one, forecast);
      forecast.mean.forEach((value, k) => rows.push([one.id, names[k], run.model, value, ...keys.map((key) => forecast.quantiles?.[key]?.[k] ?? "")]));
    }
  }
  save(new Blob([csvText(rows)], { type: "text/csv" }), `${stem}-forecast.csv`);
}

/** The answers as the API gives them, one a model. */
export function downloadJson(results, stem) {
  const answers = results.runs.filter((run) => run.forecasts.size).map((run) => ({ model: run.model, forecasts: [...run.forecasts.values()], usage: run.usage, warnings: run.warnings }));
  save(new Blob([JSON.stringify(answers.length === 1 ? answers[0] : answers, null, 1)], { type: "application/json" }), `${stem}-forecast.json`);
}

/** The chart as it is seen. */
export async function downloadPng(chart, stem) {
  save(await chart.png(), `${stem}.png`);
}

/** A table of any rows as a CSV file. */
export const downloadRows = (rows, name) => save(new Blob([csvText(rows)], { type: "text/csv" }), name);
