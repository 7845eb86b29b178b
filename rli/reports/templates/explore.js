"use strict";
// The whole section in one file: its parts, the trade-off, the heat map, the best settings and the table, share the rows,
// the choices and the few helpers at its top, and a page cannot load modules under its policy.
(() => {
  const PAGE_OF_ROWS = 200; // how many rows of the table are in the document at first
  const BEST = 5;
  const ERRORS = 1; // Vega's level of logging

  // What rli.reports.explore.explore_context gives, as rows: {id, edit, d0 (index of a value), …, psnr (number or null), …}.
  const read = () => {
    const data = JSON.parse(document.getElementById("explore-data").textContent);
    const names = Object.keys(data.columns);
    const rows = data.ids.map((id, k) => {
      const row = { id, edit: data.edit[k] };
      for (const name of names) row[name] = data.columns[name][k];
      return row;
    });
    return { ...data, rows, knobs: data.dimensions.filter((d) => d.knob), axes: data.dimensions.filter((d) => d.axis) };
  };

  const byId = (id) => document.getElementById(`explore-${id}`);
  const made = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const fill = (select, options, chosen) => {
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value, value === chosen, value === chosen)));
  };
  const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  // As rli.reports.format.number writes it.
  const figure = (metric, value) => value.toFixed(metric.digits).replace("-", "−");
  const quantity = (metric, value) => `${figure(metric, value)}${metric.unit ? ` ${metric.unit}` : ""}`;
  const card = (id) => document.getElementById(`edit-${id}`);
  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));

  const open = (id) => {
    if (card(id)) tell("rli:open", { id: `edit-${id}` });
  };

  // Numbers

  const summed = (rows, name, statistic) => {
    const values = rows.map((row) => row[name]).filter((value) => value !== null);
    if (!values.length) return null;
    if (statistic === "mean") return values.reduce((a, b) => a + b, 0) / values.length;
    values.sort((a, b) => a - b);
    const middle = values.length >> 1;
    return values.length % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  };

  // The rows by their values in the dimensions, in these values' order: [{codes, rows}].
  const grouped = (rows, dimensions) => {
    const groups = new Map();
    for (const row of rows) {
      const codes = dimensions.map((d) => row[d.id]);
      const key = codes.join();
      if (!groups.has(key)) groups.set(key, { codes, rows: [] });
      groups.get(key).rows.push(row);
    }
    const order = (a, b) => a.codes.reduce((sign, code, k) => sign || code - b.codes[k], 0);
    return [...groups.values()].sort(order);
  };

  // The points {x, y} that no other point beats, from left to right; higher: whether more is better, for x and y.
  const pareto = (points, higher) => {
    const a = (p) => (higher[0] ? p.x : -p.x);
    const b = (p) => (higher[1] ? p.y : -p.y);
    let last = null;
    const front = [...points].sort((p, q) => a(q) - a(p) || b(q) - b(p)).filter((p) => {
      if (last && b(p) <= b(last) && !(a(p) === a(last) && b(p) === b(last))) return false;
      last = p;
      return true;
    });
    return front.sort((p, q) => p.x - q.x || p.y - q.y);
  };

  // How far a group's figure is from meeting a condition; NaN where it was not measured, 0 or less where it is met.
  const missing = (group, condition, statistic) => {
    const value = summed(group.rows, condition.metric.id, statistic);
    return value === null ? NaN : condition.least ? condition.limit - value : value - condition.limit;
  };

  // Plots

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // A plot that follows its container's width and the colour scheme, and that mouse and keyboard go through.
  // build(width) returns {spec, items, orders}: items are the data of the marks ({x, y, told: lines of text, act});
  // orders are the items as the horizontal and the vertical arrow keys visit them.
  const plot = (host, told, build) => {
    const tip = document.body.appendChild(made("div", { className: "explore-tip", hidden: true }));
    let [shown, wanted, width, items, orders, current] = [null, 0, 0, [], [[], []], null];

    const render = async () => {
      width = host.clientWidth;
      const turn = ++wanted;
      if (!width) return;
      const padding = parseFloat(getComputedStyle(host).paddingLeft) * 2;
      const built = build(width - padding);
      ({ items, orders } = built);
      [current, told.textContent] = [null, built.summary];
      const place = made("div");
      const result = await vegaEmbed(place, built.spec, {
        mode: "vega-lite", renderer: "svg", actions: false, tooltip: false, defaultStyle: false,
        // Expressions are interpreted, as the page's policy forbids their compilation.
        ast: true,
        // The cursor has no data at first, which is no reason for a warning.
        logLevel: ERRORS,
      });
      if (turn !== wanted) return result.finalize();
      shown?.finalize();
      shown = result;
      host.replaceChildren(place);
      place.querySelector("svg")?.setAttribute("aria-hidden", "true");
      result.view.addEventListener("click", (_, mark) => itemOf(mark)?.act?.());
      result.view.addEventListener("mousemove", (event, mark) => point(event, itemOf(mark)));
      result.view.addEventListener("mouseout", () => point(null, null));
    };
    const itemOf = (mark) => (mark?.datum && "key" in mark.datum ? items[mark.datum.key] : null);
    const point = (event, item) => {
      tip.hidden = !item;
      if (!item) return;
      tip.textContent = item.told.join("\n");
      const [x, y] = [event.clientX + 14, event.clientY + 14];
      tip.style.left = `${Math.max(4, Math.min(x, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${y + tip.offsetHeight < innerHeight ? y : event.clientY - tip.offsetHeight - 10}px`;
    };
    const reach = (item) => {
      current = item;
      told.textContent = item ? item.told.join(" · ") : "";
      shown?.view.data("cursor", item ? [item.mark] : []).runAsync();
    };
    const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 1], ArrowDown: [1, -1] };
    host.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !items.length) return;
      if (event.key === "Enter" && current) current.act?.();
      else if (event.key === "Home") reach(orders[0][0]);
      else if (event.key === "End") reach(orders[0].at(-1));
      else if (event.key in STEPS) {
        const [which, step] = STEPS[event.key];
        const order = orders[which];
        const next = current ? order.indexOf(current) + step : 0;
        reach(order[Math.max(0, Math.min(next, order.length - 1))]);
      } else return;
      event.preventDefault();
    });

    let waiting = 0;
    new ResizeObserver(() => {
      if (host.clientWidth === width) return;
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(render);
    }).observe(host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
    return render;
  };

  // The specification with data, and an encoding for all layers.
  const completed = (spec, datasets, encoding, size) => {
    const copy = structuredClone(spec);
    Object.assign(copy, size, { datasets: { ...datasets, cursor: [] } });
    for (const layer of copy.layer) {
      for (const [channel, change] of Object.entries(encoding)) Object.assign((layer.encoding[channel] ??= {}), change);
    }
    copy.config.font = getComputedStyle(document.body).fontFamily;
    return copy;
  };
  const layer = (spec, name) => spec.layer.find((one) => one.name === name);
  const sorted = (items, ...keys) => [...items].sort((a, b) => keys.reduce((sign, key) => sign || key(a) - key(b), 0));

  const tradeoff = (data, chosen) => {
    const metric = (id) => data.metrics.find((m) => m.name === id);
    const edits = data.rows.filter((row) => row.edit);
    const measured = data.metrics.map((m) => [m.name, m.title]);
    const has = (id, other) => (metric(id) ? id : measured.find(([name]) => name !== other)[0]);
    const coloured = data.axes.concat(data.knobs.filter((d) => !d.axis)).filter((d) => d.colour);
    const shaped = data.axes.filter((d) => d.shape);
    const first = coloured.find((d) => d.knob) ?? coloured[0];
    const second = shaped.find((d) => d.knob && d !== first);
    const none = ["", "none"];
    fill(byId("x"), measured, has("strength", "psnr_background"));
    fill(byId("y"), measured, has("psnr_background", byId("x").value));
    fill(byId("colour"), [...coloured.map((d) => [d.id, d.name]), none], first?.id ?? "");
    fill(byId("shape"), [...shaped.map((d) => [d.id, d.name]), none], second?.id ?? "");
    fill(byId("points"), [["edit", "each edit"], ["setting", "each setting"]],
      edits.length > data.limits.points && data.knobs.length ? "setting" : "edit");
    byId("points").parentElement.hidden = !data.knobs.length;

    const render = plot(byId("points-plot"), byId("points-told"), (width) => {
      const [x, y] = [metric(byId("x").value), metric(byId("y").value)];
      const find = (id) => data.dimensions.find((d) => d.id === byId(id).value);
      const [tint, form] = [find("colour"), find("shape")];
      const rows = chosen.rows();
      const single = byId("points").value === "edit";
      const told = single ? data.dimensions : [...new Set([...data.knobs, tint, form])].filter(Boolean);
      const groups = single
        ? rows.map((row) => ({ codes: told.map((d) => row[d.id]), rows: [row] }))
        : grouped(rows, told);
      const all = groups.map((group) => {
        const at = { x: summed(group.rows, x.name, chosen.statistic()), y: summed(group.rows, y.name, chosen.statistic()) };
        return { ...at, group };
      });
      const items = all.filter((item) => item.x !== null && item.y !== null);
      const span = (key) => Math.max(...items.map((p) => p[key])) - Math.min(...items.map((p) => p[key])) || 1;
      const [wide, tall] = items.length ? [span("x"), span("y")] : [1, 1];
      // A setting's point opens the edit that is nearest to it.
      const far = (row, item) =>
        row[x.name] === null || row[y.name] === null
          ? Infinity
          : Math.abs(row[x.name] - item.x) / wide + Math.abs(row[y.name] - item.y) / tall;
      items.forEach((item, key) => {
        const { codes, rows: own } = item.group;
        const value = (d) => d && own[0][d.id];
        item.mark = {
          key, x: item.x, y: item.y,
          colour: tint && (tint.scale ? tint.values[value(tint)] : tint.labels[value(tint)]),
          shape: form ? form.labels[value(form)] : "",
        };
        item.told = [
          ...told.map((d, k) => `${d.name} ${d.labels[codes[k]]}`),
          ...[...new Set([x, y])].map((m) => `${m.label} ${quantity(m, item[m === x ? "x" : "y"])}`),
          ...(single ? [] : [`${chosen.statistic()} of ${counted(own.length, "edit")}`]),
        ];
        item.act = () => {
          const there = own.filter((row) => card(row.id));
          if (there.length) open(there.reduce((a, b) => (far(b, item) < far(a, item) ? b : a)).id);
        };
      });
      const marks = items.map((item) => item.mark);
      const front = pareto(marks, [x.higher, y.higher]);
      const narrow = width < 560;
      const spec = completed(
        data.specs.tradeoff,
        { points: marks, front },
        { x: { title: x.title }, y: { title: y.title } },
        { width, height: Math.round(Math.min(420, Math.max(260, width * 0.55))), autosize: { type: "fit-x", contains: "padding" } },
      );
      const points = layer(spec, "points");
      points.encoding.color = tint?.colour ?? points.encoding.color;
      points.encoding.shape = form?.shape ?? points.encoding.shape;
      if (!points.encoding.color) delete points.encoding.color;
      if (!points.encoding.shape) delete points.encoding.shape;
      points.mark.opacity = marks.length > 200 ? 0.8 : 0.9;
      layer(spec, "front").mark.interpolate = x.higher ? "step-before" : "step-after";
      if (narrow) Object.assign(spec.config.legend, { orient: "bottom", columns: 4 });
      const noun = single ? "edit" : "setting";
      return {
        spec,
        items,
        orders: [sorted(items, (p) => p.x, (p) => p.y), sorted(items, (p) => p.y, (p) => p.x)],
        summary: items.length ? `${counted(items.length, noun)}, ${front.length} on the front` : `No ${noun} has both figures`,
      };
    });
    for (const id of ["x", "y", "colour", "shape", "points"]) byId(id).addEventListener("change", render);
    return render;
  };

  const heatmap = (data, chosen) => {
    const axes = data.axes.map((d) => [d.id, d.name]);
    const [first, second] = [...data.axes].sort((a, b) => b.knob - a.knob);
    const goal = ["psnr_background", "strength"].find((id) => data.metrics.some((m) => m.name === id));
    fill(byId("metric"), data.metrics.map((m) => [m.name, m.title]), goal ?? data.metrics[0].name);
    fill(byId("across"), axes, first.id);
    fill(byId("up"), axes, second.id);

    const render = plot(byId("cells-plot"), byId("cells-told"), (width) => {
      const metric = data.metrics.find((m) => m.name === byId("metric").value);
      const [across, up] = ["across", "up"].map((id) => data.axes.find((d) => d.id === byId(id).value));
      const statistic = chosen.statistic();
      const cells = grouped(chosen.rows(), [across, up])
        .map(({ codes, rows }) => ({ codes, rows, value: summed(rows, metric.name, statistic) }))
        .filter((cell) => cell.value !== null);
      const values = cells.map((cell) => cell.value);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const items = cells.map((cell, key) => ({
        codes: cell.codes,
        mark: {
          key,
          x: across.labels[cell.codes[0]],
          y: up.labels[cell.codes[1]],
          value: cell.value,
          text: figure(metric, cell.value),
          strong: high > low && (cell.value - low) / (high - low) > data.limits.strong,
        },
        told: [
          `${across.name} ${across.labels[cell.codes[0]]}`,
          `${up.name} ${up.labels[cell.codes[1]]}`,
          `${metric.label} ${quantity(metric, cell.value)}`,
          `${statistic} of ${counted(cell.rows.length, "edit")}`,
        ],
      }));
      // Only values that are there: a filter on a defect may leave some out.
      const present = (d, which) => d.labels.filter((_, code) => cells.some((cell) => cell.codes[which] === code));
      const [columns, lines] = [present(across, 0), present(up, 1)];
      const widest = Math.max(0, ...items.map((item) => item.mark.text.length));
      const printed = cells.length <= data.limits.cells && (width - 90) / columns.length > widest * 7 + 6;
      const spec = completed(
        data.specs.heatmap,
        { cells: items.map((item) => item.mark) },
        {
          x: { title: across.name, scale: { domain: columns } },
          y: { title: up.name, scale: { domain: up.values ? lines.reverse() : lines } },
        },
        { width: Math.min(width, 120 + columns.length * 150), height: 42 * lines.length, autosize: { type: "fit-x", contains: "padding" } },
      );
      const shades = { soft: colour("--soft"), accent: colour("--accent"), card: colour("--card"), ink: colour("--ink") };
      const rects = layer(spec, "cells");
      Object.assign(rects.encoding.color, { title: metric.title, legend: { format: `.${metric.digits}f`, gradientLength: 120 } });
      rects.encoding.color.scale.range = [shades.soft, shades.accent];
      const inks = layer(spec, "figures").encoding.color;
      [inks.condition.value, inks.value] = [shades.card, shades.ink];
      if (printed) {
        rects.encoding.color.legend = null;
      } else {
        spec.layer = spec.layer.filter((one) => one.name !== "figures");
      }
      if (width < 560 && !printed) rects.encoding.color.legend.orient = "bottom";
      const best = [...items].sort((a, b) => (b.mark.value - a.mark.value) * (metric.higher ? 1 : -1))[0];
      const code = (which) => (item) => item.codes[which] * (which && !up.values ? -1 : 1);
      return {
        spec,
        items,
        orders: [sorted(items, code(1), code(0)), sorted(items, code(0), code(1))],
        summary: best
          ? `${metric.higher ? "Highest" : "Lowest"}: ${quantity(metric, best.mark.value)} at ${best.told[0]}, ${best.told[1]}`
          : "Nothing was measured here",
      };
    });
    for (const [id, other] of [["across", "up"], ["up", "across"]]) {
      let before = byId(id).value;
      byId(id).addEventListener("change", () => {
        // Two different axes: the other one takes what this one had.
        if (byId(id).value === byId(other).value) byId(other).value = before;
        before = byId(id).value;
        render();
      });
      byId(other).addEventListener("change", () => { before = byId(id).value; });
    }
    byId("metric").addEventListener("change", render);
    return render;
  };

  // Best settings

  const best = (data, chosen, filterBy) => {
    const metric = (id) => data.metrics.find((m) => m.name === id);
    const measured = data.metrics.map((m) => [m.name, m.title]);
    const goals = data.metrics.map((m) => [m.name, `${m.higher ? "highest" : "lowest"} ${m.label}`]);
    fill(byId("goal"), goals, metric("strength") ? "strength" : data.metrics[0].name);

    const add = (id, least, limit) => {
      const which = made("select", { ariaLabel: "Metric" });
      const kind = made("select", { ariaLabel: "Condition" });
      const value = made("input", { type: "number", step: "any", value: limit, ariaLabel: "Value" });
      const unit = made("span", { className: "quiet" });
      const remove = made("button", { type: "button", textContent: "Remove" });
      fill(which, measured, id);
      fill(kind, [["min", "at least"], ["max", "at most"]], least ? "min" : "max");
      const item = made("li", {}, which, kind, value, unit, remove);
      const follow = () => {
        unit.textContent = metric(which.value).unit;
        render();
      };
      which.addEventListener("change", () => {
        kind.value = metric(which.value).higher ? "min" : "max";
        follow();
      });
      remove.addEventListener("click", () => {
        item.remove();
        byId("add").focus();
        render();
      });
      for (const [element, event] of [[kind, "change"], [value, "input"]]) element.addEventListener(event, follow);
      byId("condition-list").append(item);
      unit.textContent = metric(id).unit;
      return which;
    };

    // An empty or unreadable value is no condition yet.
    const conditions = () =>
      [...byId("condition-list").children]
        .map((item) => [item.querySelector("select"), item.querySelectorAll("select")[1], item.querySelector("input")])
        .filter(([, , value]) => Number.isFinite(value.valueAsNumber))
        .map(([which, kind, value]) => ({
          metric: { ...metric(which.value), id: which.value }, least: kind.value === "min", limit: value.valueAsNumber,
        }));

    const entry = (group, asked, goal, note) => {
      const statistic = chosen.statistic();
      const typed = data.knobs.map((d, k) => d.overrides[group.codes[k]]).join(" ");
      const line = made("p", { className: "figures-line" });
      for (const m of new Set([goal, ...asked.map((c) => metric(c.metric.id))])) {
        const value = summed(group.rows, m.name, statistic);
        line.append(made("b", { textContent: value === null ? "–" : quantity(m, value) }), ` ${m.label} · `);
      }
      line.append(counted(group.rows.length, "edit"), ...(note ? [" · ", note] : []));
      const copy = made("button", { type: "button", textContent: "Copy", ariaLabel: `Copy ${typed}` });
      const show = made("button", { type: "button", textContent: "Show edits", ariaLabel: `Show the edits of ${typed}` });
      const code = made("code", { textContent: typed });
      copy.addEventListener("click", async () => { copy.textContent = (await copied(code)) ? "Copied" : "Press Ctrl+C"; });
      show.addEventListener("click", () => filterBy(data.knobs.map((d, k) => [d.id, `= ${d.labels[group.codes[k]]}`])));
      return made("li", {}, code, line, made("div", { className: "buttons" }, copy, show));
    };

    const render = () => {
      const [goal, asked, statistic] = [metric(byId("goal").value), conditions(), chosen.statistic()];
      const groups = grouped(chosen.rows(), data.knobs);
      const gaps = (group) => asked.map((c) => missing(group, c, statistic));
      const qualified = groups.filter((group) => gaps(group).every((gap) => gap <= 0));
      const worth = (group) => {
        const value = summed(group.rows, goal.name, statistic);
        return value === null ? -Infinity : goal.higher ? value : -value;
      };
      const list = byId("best-list");
      list.classList.toggle("nearest", !qualified.length);
      if (qualified.length) {
        const ordered = qualified.map((group) => [worth(group), group]).sort((a, b) => (a[0] === b[0] ? 0 : b[0] - a[0]));
        list.replaceChildren(...ordered.slice(0, BEST).map(([, group]) => entry(group, asked, goal)));
        const shown = qualified.length > BEST ? `; the best ${BEST}:` : ", best first:";
        byId("best-told").textContent = `${qualified.length} of ${counted(groups.length, "setting")} qualify${shown}`
          .replace("qualify", qualified.length === 1 ? "qualifies" : "qualify");
        return;
      }
      // Units differ, so each gap counts as a share of the metric's range over the settings.
      const ranges = asked.map((c) => {
        const values = groups.map((g) => summed(g.rows, c.metric.id, statistic)).filter((v) => v !== null);
        return Math.max(...values) - Math.min(...values) || 1;
      });
      const far = (group) => gaps(group).reduce((sum, gap, k) => sum + Math.max(gap, 0) / ranges[k], 0);
      const able = groups.filter((group) => !gaps(group).some(Number.isNaN));
      if (!able.length) {
        byId("best-told").textContent = `None of ${counted(groups.length, "setting")} qualifies: no setting has all of these figures.`;
        list.replaceChildren();
        return;
      }
      const nearest = able.reduce((a, b) => (far(b) < far(a) ? b : a));
      const short = gaps(nearest)
        .map((gap, k) => [gap, asked[k]])
        .filter(([gap]) => gap > 0)
        .map(([gap, c]) => `${c.metric.label} ${quantity(c.metric, gap)} too ${c.least ? "low" : "high"}`)
        .join(", ");
      byId("best-told").textContent = `None of ${counted(groups.length, "setting")} qualifies. The nearest comes this close: ${short}.`;
      list.replaceChildren(entry(nearest, asked, goal));
    };

    if (data.floor !== null && metric("psnr_background")) add("psnr_background", true, data.floor);
    byId("goal").addEventListener("change", render);
    byId("conditions").addEventListener("submit", (event) => event.preventDefault());
    byId("add").addEventListener("click", () => {
      const m = data.metrics.find((one) => one.name === byId("goal").value);
      add(m.name, m.higher, "").focus();
      render();
    });
    return render;
  };

  const copied = async (element) => {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch {
      // No clipboard without a secure origin or permission: the text is selected instead.
      getSelection().selectAllChildren(element);
      return document.execCommand("copy");
    }
  };

  // Table

  const OPERATORS = {
    "≥": (a, b) => a >= b, ">=": (a, b) => a >= b, "≤": (a, b) => a <= b, "<=": (a, b) => a <= b,
    ">": (a, b) => a > b, "<": (a, b) => a < b,
  };

  // What a filter's text asks of a cell ({value: number or null, text}), or null where it cannot be read (yet).
  const asked = (text, numeric) => {
    const wanted = text.trim().toLowerCase();
    const [, sign, rest] = wanted.match(/^(>=|<=|[≥≤><=])?\s*(.*)$/s);
    if (!numeric && sign === "=") return (cell) => cell.text.toLowerCase() === rest;
    if (!numeric) return (cell) => cell.text.toLowerCase().includes(wanted);
    const number = rest === "" ? NaN : Number(rest.replace(",", "."));
    if (Number.isNaN(number)) return null;
    if (sign && sign !== "=") return (cell) => cell.value !== null && OPERATORS[sign](cell.value, number);
    // A measured figure is what is shown of it.
    const same = (cell) => cell.value === number || ("digits" in cell && cell.text === number.toFixed(cell.digits));
    return (cell) => cell.value !== null && same(cell);
  };

  const table = (data) => {
    const element = byId("table");
    const body = element.tBodies[0];
    const columns = [
      ...data.dimensions.map((d) => ({
        id: d.id, main: true, numeric: d.knob && d.values !== null,
        // Sorting follows the values' order, which is theirs.
        rank: (row) => row[d.id],
        cell: (row) => ({ value: d.values ? d.values[row[d.id]] : null, text: d.labels[row[d.id]] }),
      })),
      ...data.metrics.map((m) => ({
        id: m.name, main: m.main, numeric: true, number: true,
        rank: (row) => row[m.name],
        cell: (row) => ({ value: row[m.name], text: row[m.name] === null ? "" : figure(m, row[m.name]), digits: m.digits }),
      })),
    ];
    const inputs = new Map([...element.querySelectorAll(".filters input")].map((input) => [input.dataset.column, input]));
    const heads = new Map([...element.querySelectorAll("thead th")].map((head) => [head.dataset.column, head]));
    const trs = new Map([...body.rows].map((tr) => [Number(tr.dataset.row), tr]));
    const texts = new Map();
    let [sort, limit, before, ordered] = [null, PAGE_OF_ROWS, "null", data.rows];

    const textOf = (row) => {
      if (!texts.has(row.id)) texts.set(row.id, data.dimensions.map((d) => d.labels[row[d.id]]).join("\n").toLowerCase());
      return texts.get(row.id);
    };
    const tr = (row) => {
      if (!trs.has(row.id)) {
        const cells = columns.slice(1).map((column) =>
          made("td", {
            textContent: column.cell(row).text,
            className: `${column.number ? "num" : ""}${column.main ? "" : " more"}`,
          }));
        const name = columns[0].cell(row).text;
        const link = row.edit ? made("a", { href: `#edit-${row.id}`, textContent: name }) : name;
        const fresh = made("tr", {}, made("th", { scope: "row" }, link), ...cells);
        fresh.dataset.row = row.id;
        trs.set(row.id, fresh);
      }
      const one = trs.get(row.id);
      const there = Boolean(card(row.id));
      one.classList.toggle("opens", there);
      const link = one.querySelector("a");
      if (link && !there) link.replaceWith(link.textContent);
      return one;
    };

    const show = () => {
      body.replaceChildren(...ordered.slice(0, limit).map(tr));
      const more = ordered.length - limit;
      byId("more").parentElement.hidden = more <= 0;
      byId("more").textContent = `Show ${Math.min(more, PAGE_OF_ROWS)} more of ${more}`;
    };

    const apply = () => {
      const tests = [];
      for (const column of columns) {
        const input = inputs.get(column.id);
        const test = input.value.trim() ? asked(input.value, column.numeric) : undefined;
        input.setAttribute("aria-invalid", String(test === null));
        if (test) tests.push((row) => test(column.cell(row)));
      }
      const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
      if (words.length) tests.push((row) => words.every((word) => textOf(row).includes(word)));
      const left = tests.length ? data.rows.filter((row) => tests.every((test) => test(row))) : data.rows;
      ordered = sort ? bySort(left) : left;
      show();
      byId("clear").disabled = !tests.length && ![...inputs.values()].some((input) => input.value);
      const [count, total] = [left.length, counted(data.rows.length, "row")];
      byId("rows-told").textContent = tests.length ? `${count} of ${total} left` : total;
      const ids = tests.length ? left.map((row) => row.id) : null;
      if (JSON.stringify(ids) !== before) tell("rli:filter", { ids });
      before = JSON.stringify(ids);
    };
    const bySort = (rows) => {
      const { column, sign } = sort;
      // What was not measured is last in both directions.
      return [...rows].sort((a, b) => {
        const [p, q] = [column.rank(a), column.rank(b)];
        return p === null || q === null ? (p === null) - (q === null) : sign * (p - q);
      });
    };
    const sortBy = (column) => {
      const again = sort?.column === column;
      sort = !again ? { column, sign: 1 } : sort.sign === 1 ? { column, sign: -1 } : null;
      for (const head of heads.values()) head.removeAttribute("aria-sort");
      if (sort) heads.get(column.id).setAttribute("aria-sort", sort.sign === 1 ? "ascending" : "descending");
      apply();
    };
    const again = () => {
      limit = PAGE_OF_ROWS;
      apply();
    };
    const clear = () => {
      byId("search").value = "";
      for (const input of inputs.values()) input.value = "";
    };

    for (const column of columns) heads.get(column.id).firstElementChild.addEventListener("click", () => sortBy(column));
    for (const input of [byId("search"), ...inputs.values()]) input.addEventListener("input", again);
    byId("clear").addEventListener("click", () => {
      clear();
      again();
      byId("search").focus();
    });
    byId("more").addEventListener("click", () => {
      const first = ordered[limit];
      limit += PAGE_OF_ROWS;
      show();
      trs.get(first.id).querySelector("a")?.focus({ preventScroll: true });
    });
    byId("all").addEventListener("change", () => {
      element.classList.toggle("fewer", !byId("all").checked);
      // No filter works unseen.
      if (!byId("all").checked) for (const column of columns) if (!column.main) inputs.get(column.id).value = "";
      apply();
    });
    body.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || String(getSelection())) return;
      const row = event.target.closest("tr");
      if (!row?.classList.contains("opens")) return;
      event.preventDefault();
      open(Number(row.dataset.row));
    });
    element.classList.add("fewer");
    byId("all").parentElement.hidden = columns.every((column) => column.main);
    apply();

    // Filters as asked from elsewhere: [column, text] pairs.
    return (pairs) => {
      clear();
      for (const [id, text] of pairs) inputs.get(id).value = text;
      again();
      byId("rows").scrollIntoView({ block: "start" });
      byId("rows-told").parentElement.querySelector(".rows-scroll").focus({ preventScroll: true });
    };
  };

  const start = () => {
    const data = read();
    const defects = data.dimensions.find((d) => d.name === "defect");
    const edits = data.rows.filter((row) => row.edit);
    const present = [...new Set(edits.map((row) => row[defects.id]))];
    if (byId("defect")) fill(byId("defect"), [["", "all defects"], ...present.map((k) => [String(k), defects.labels[k]])], "");
    if (byId("statistic")) fill(byId("statistic"), [["median", "median"], ["mean", "mean"]], "median");
    const chosen = {
      statistic: () => byId("statistic").value,
      rows: () => {
        const defect = byId("defect")?.value ?? "";
        return defect === "" ? edits : edits.filter((row) => row[defects.id] === Number(defect));
      },
    };
    const filterBy = table(data);
    const renders = [
      byId("points-plot") && tradeoff(data, chosen),
      byId("cells-plot") && heatmap(data, chosen),
      byId("best-list") && best(data, chosen, filterBy),
    ].filter(Boolean);
    const all = () => renders.forEach((render) => render());
    for (const id of ["defect", "statistic"]) byId(id)?.addEventListener("change", all);
    all();
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
