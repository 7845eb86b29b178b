// The reviewer's choices: kept by the browser from one visit to the next, saved and loaded as CSV.

const COLUMNS = ["image", "defect", "job", "decision", "file"];
const DECISIONS = ["keep", "reject"];

// Records as CSV (RFC 4180), an array of strings each.
// What a spreadsheet would compute is marked as in rli/cells.py.
const harmless = (value) => (/^'*[=+\-@\t\r]/.test(value) ? `'${value}` : value);

function csvOf(records) {
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return records.map((record) => `${record.map((value) => quoted(harmless(value))).join(",")}\r\n`).join("");
}

// The records of CSV text, an object with the header's names each.
function recordsOf(text) {
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|\r|$)/y;
  const lines = [[]];
  while (field.lastIndex < text.length) {
    const found = field.exec(text);
    if (!found) throw new Error("it is no CSV");
    lines.at(-1).push(found[1]?.replaceAll('""', '"') ?? found[2]);
    if (found[3] !== "," && field.lastIndex < text.length) lines.push([]);
  }
  const [names, ...records] = lines;
  const missing = COLUMNS.slice(0, 4).find((name) => !names.includes(name));
  if (missing) throw new Error(`the column ${missing} is missing`);
  return records.map((record) => Object.fromEntries(names.map((name, i) => [name, record[i] ?? ""])));
}

// Storage may be blocked, full, or hold something else: then nothing is remembered.
function storageAt(key) {
  return {
    read() {
      try {
        return Object.entries(JSON.parse(localStorage.getItem(key)) ?? {});
      } catch {
        return [];
      }
    },
    write(choices) {
      try {
        localStorage.setItem(key, JSON.stringify(Object.fromEntries(choices)));
        return true;
      } catch {
        return false;
      }
    },
  };
}

function createReview(cards, bar) {
  const storage = storageAt(`rli-review-${bar.dataset.identity}`);
  const records = new Map(cards.map((card) => [card.id, JSON.parse(card.dataset.record)]));
  const known = ([id, decision]) => records.has(id) && DECISIONS.includes(decision);
  const choices = new Map(storage.read().filter(known));
  const keyOf = ({ job, image, defect }) => JSON.stringify([job, image, defect]);
  const heard = new EventTarget();

  const of = (card) => choices.get(card.id) ?? "open";

  function changed(ids, told = "") {
    tell(storage.write(choices) ? told : "This browser does not remember choices: save them before you leave.");
    heard.dispatchEvent(new CustomEvent("change", { detail: ids }));
  }

  // `decision` keep, reject or open.
  function decide(card, decision) {
    if (decision === "open") choices.delete(card.id);
    else choices.set(card.id, decision);
    changed([card.id]);
  }

  function tell(text) {
    bar.querySelector(".told").textContent = text;
  }

  function save() {
    const decided = cards.filter((card) => choices.has(card.id)).map((card) => {
      const record = { ...records.get(card.id), decision: of(card) };
      return COLUMNS.map((name) => record[name]);
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csvOf([COLUMNS, ...decided])], { type: "text/csv" }));
    link.download = "review.csv";
    link.click();
    // The download has its own hold on the blob once the click was handled.
    setTimeout(() => URL.revokeObjectURL(link.href));
    tell(`Saved ${decided.length} ${decided.length === 1 ? "choice" : "choices"} to review.csv.`);
  }

  // Choices of the file replace those made here; the others stay.
  async function load(file) {
    try {
      const ids = new Map([...records].map(([id, record]) => [keyOf(record), id]));
      const found = recordsOf(await file.text());
      const wrong = found.find(({ decision }) => !DECISIONS.includes(decision));
      if (wrong) throw new Error(`the decision “${wrong.decision}” is not known`);
      const here = found.filter((record) => ids.has(keyOf(record)));
      for (const record of here) choices.set(ids.get(keyOf(record)), record.decision);
      const rest = here.length < found.length ? "; the others are not of this page" : "";
      changed([...records.keys()], `Loaded ${here.length} of ${found.length} choices${rest}.`);
    } catch (error) {
      tell(`${file.name} was not loaded: ${error.message}.`);
    }
  }

  // A button that is pressed already takes its decision back.
  const pressed = (card, { dataset }) => (of(card) === dataset.decision ? "open" : dataset.decision);

  const onChange = (act) => heard.addEventListener("change", (event) => act(event.detail));

  return { of, decide, pressed, save, load, tell, onChange };
}
