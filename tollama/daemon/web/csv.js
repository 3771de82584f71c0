// Text as a table: delimiter, quotes and header found. Not here: what cells mean (cells.js).

// A comma may be a decimal sign or a part of words: it is tried last.
const DELIMITERS = [";", "\t", "|", ","];

/** The rows of delimited text; quoted cells may hold delimiters, quotes ("") and line breaks. */
export function splitRows(text, delimiter) {
  const rows = [];
  let row = [];
  let at = 0;
  const size = text.length;
  while (at < size) {
    let cell;
    if (text[at] === '"') {
      let end = at + 1;
      for (;;) {
        end = text.indexOf('"', end);
        if (end < 0) {
          end = size;
          break;
        }
        if (text[end + 1] !== '"') break;
        end += 2;
      }
      cell = text.slice(at + 1, end).replaceAll('""', '"');
      at = end + 1;
      // Whatever stands between the closing quote and the delimiter belongs to the cell.
      const from = at;
      while (at < size && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") at++;
      cell += text.slice(from, at).trimEnd();
    } else {
      const from = at;
      while (at < size && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") at++;
      cell = text.slice(from, at).trim();
    }
    row.push(cell);
    if (at >= size) break;
    if (text[at] === delimiter) {
      at++;
      if (at >= size) row.push("");
      continue;
    }
    at += text[at] === "\r" && text[at + 1] === "\n" ? 2 : 1;
    rows.push(row);
    row = [];
  }
  if (row.length) rows.push(row);
  return rows.filter((cells) => cells.some((cell) => cell !== ""));
}

/** The delimiter that cuts the first lines alike, the header too; of several the one with more columns. */
export function findDelimiter(text) {
  const head = text.slice(0, 20000);
  let best = { delimiter: ",", width: 1, score: 0 };
  for (const delimiter of DELIMITERS) {
    const rows = splitRows(head, delimiter).slice(0, 30);
    if (text.length > 20000) rows.pop();
    const widths = new Map();
    for (const row of rows) widths.set(row.length, (widths.get(row.length) ?? 0) + 1);
    const [width, hits] = [...widths].sort((a, b) => b[1] - a[1] || b[0] - a[0])[0] ?? [1, 0];
    const share = rows.length ? hits / rows.length : 0;
    const score = share + (rows[0]?.length === width ? 1 : 0);
    if (width < 2 || share < 0.8) continue;
    if (score > best.score + 0.1 || (score > best.score - 0.1 && width > best.width)) best = { delimiter, width, score };
  }
  return best.delimiter;
}

const NUMERIC = /^[+-]?[\d.,\s']*\d[\d.,\s']*(e[+-]?\d+)?$/i;

/**
 * A table: {header, rows, bare, delimiter}. `bare` says that there was no header line and the
 * names are made up. Throws Error in words when there is nothing to read.
 */
export function parseTable(text) {
  const clean = text.replace(/^\uFEFF/, "");
  const delimiter = findDelimiter(clean);
  const all = splitRows(clean, delimiter);
  if (!all.length) throw new Error("this is empty: expected a header line and rows below it");
  const width = Math.max(...all.slice(0, 200).map((row) => row.length));
  const first = all[0];
  const second = all[1] ?? [];
  // A line of numbers (or dates) over a line of the same is data, not a header.
  const dataLike = (cell) => cell === "" || NUMERIC.test(cell) || /^\d{4}-\d/.test(cell);
  const wideDates = first.length > 3 && !dataLike(first[0]) && second.length === first.length;
  const bare = !wideDates && first.every(dataLike) && first.some((cell) => cell !== "");
  const names = bare ? [] : first;
  const header = [];
  for (let i = 0; i < width; i++) {
    let name = names[i]?.trim() || `column_${i + 1}`;
    while (header.includes(name)) name += "_2";
    header.push(name);
  }
  const rows = bare ? all : all.slice(1);
  if (!rows.length) throw new Error(`expected rows below the header (${header.slice(0, 6).join(", ")}), found none`);
  return { header, rows, bare, delimiter };
}
