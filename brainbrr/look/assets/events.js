"use strict";
(() => {
  const told = JSON.parse(document.getElementById("events-data").textContent);
  const at = (id) => document.getElementById(id);
  const REACH = 1.5, FACTORS = [0.25, 0.5, 0.7, 1, 1.4, 2, 3, 5];
  const charts = [];
  let shown = told.events.map((_, i) => i), place = 0, gain = 3;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const clock = (s) => {
    const ms = Math.round(s * 10) / 10, h = Math.floor(ms / 3600), m = Math.floor(ms / 60) % 60, rest = ms % 60;
    const text = rest % 1 ? rest.toFixed(1) : rest.toFixed(0);
    return `${h}:${String(m).padStart(2, "0")}:${rest < 10 ? "0" : ""}${text}`;
  };

  function rowsOf(event) {
    const bytes = Uint8Array.from(atob(event.traces), (c) => c.charCodeAt(0));
    const n = bytes.length / event.rows.length, signed = new Int8Array(bytes.buffer);
    const x = Float64Array.from({ length: n }, (_, i) => event.from + (i * event.moment) / 2);
    const rows = event.rows.map((_, r) => Array.from(signed.subarray(r * n, (r + 1) * n), (v) => {
      if (v === -128) return null; // nothing there: the pen is lifted
      const moved = Math.max(-REACH, Math.min(REACH, (v / 127) * REACH * FACTORS[gain]));
      return -r - moved; // negative is up
    }));
    return [x, ...rows];
  }

  // the labelled seizure is shaded with edges, detected events are a bar: told apart without colours
  function spans(event, withWords) {
    return (u) => {
      const { ctx } = u, top = u.bbox.top, height = u.bbox.height, unit = devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(u.bbox.left, top - 16 * unit, u.bbox.width, height + 16 * unit);
      ctx.clip();
      ctx.font = `${12 * unit}px system-ui,sans-serif`;
      for (const [a, b] of event.reference) {
        const x = u.valToPos(a, "x", true), width = u.valToPos(b, "x", true) - x;
        ctx.fillStyle = colour("seizure");
        ctx.globalAlpha = 0.2;
        ctx.fillRect(x, top, width, height);
        ctx.globalAlpha = 1;
        for (const edge of [a, b])
          if (edge > event.from && edge < event.to) ctx.fillRect(u.valToPos(edge, "x", true) - unit, top, 2 * unit, height);
        if (withWords) {
          ctx.fillStyle = colour("text");
          ctx.fillText("labelled seizure", Math.max(x, u.bbox.left) + 3 * unit, top - 4 * unit);
        }
      }
      for (const [a, b] of event.predicted) {
        const x = u.valToPos(a, "x", true), width = u.valToPos(b, "x", true) - x;
        ctx.fillStyle = colour("detector");
        ctx.fillRect(x, top + height - 7 * unit, width, 7 * unit);
      }
      ctx.restore();
    };
  }

  function threshold(u) {
    const y = u.valToPos(told.threshold, "y", true), unit = devicePixelRatio;
    u.ctx.save();
    u.ctx.strokeStyle = colour("text");
    u.ctx.setLineDash([5 * unit, 4 * unit]);
    u.ctx.lineWidth = unit;
    u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, y);
    u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
    u.ctx.stroke();
    u.ctx.restore();
  }

  const axis = (more) => ({
    stroke: colour("quiet"), font: "12px system-ui,sans-serif", grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false }, ...more,
  });
  const width = () => at("events").clientWidth;
  const base = (event, height) => ({
    width: width(), height, padding: [18, 26, 0, 0], legend: { show: false }, cursor: { y: false, drag: { x: false, y: false }, sync: { key: "events" } },
    scales: { x: { time: false, range: [event.from, event.to] } },
  });

  function draw() {
    charts.splice(0).forEach((chart) => chart.destroy());
    const event = told.events[shown[place]];
    at("traces").textContent = at("scores").textContent = "";
    at("events-where").textContent = event
      ? `${place + 1} of ${shown.length} · ${event.kind} · ${clock(event.span[0])} to ${clock(event.span[1])}`
        + ` (${(event.span[1] - event.span[0]).toFixed(1)} s) · patient ${event.patient} · ${event.recording}`
      : "no event of this kind";
    at("events-previous").disabled = place === 0;
    at("events-next").disabled = place >= shown.length - 1;
    if (!event) return;
    const right = (_, values) => values.map(clock);
    if (event.rows) {
      const names = event.rows.map((row) => row.name), n = names.length;
      at("events-scale").textContent = `rows are ${+(event.scale / FACTORS[gain]).toPrecision(3)} µV apart, negative up`;
      at("traces").setAttribute("aria-label", `${n} traces, ${at("events-where").textContent}`);
      charts.push(new uPlot({
        ...base(event, n * 24 + 70),
        scales: { ...base(event, 0).scales, y: { range: [-n + 0.2, 0.9] } },
        series: [{}, ...event.rows.map((row) => ({
          stroke: colour(row.state ? "baseline" : row.side), width: 0.9, points: { show: false }, label: row.name,
        }))],
        axes: [axis({ values: right, space: 70 }), axis({
          size: 66, splits: () => names.map((_, r) => -r), filter: (_, s) => s, values: () => names, grid: { show: false }, gap: 3,
        })],
        hooks: { drawClear: [spans(event, true)] },
      }, rowsOf(event), at("traces")));
    } else at("traces").textContent = `no traces: ${event.why}`;
    const times = event.scores.map((_, i) => event.first_score + (i + 0.5) * event.step);
    charts.push(new uPlot({
      ...base(event, 150),
      scales: { ...base(event, 0).scales, y: { range: [0, 1] } },
      series: [{}, { stroke: colour("detector"), width: 1.6, points: { show: false }, label: "probability" }],
      axes: [axis({ values: right, space: 70 }), axis({ size: 48, label: "probability", labelSize: 18, labelFont: "12px system-ui,sans-serif", space: 40 })],
      hooks: { drawClear: [spans(event, false)], draw: [threshold] },
    }, [times, event.scores], at("scores")));
  }

  function go(step) {
    place = Math.max(0, Math.min(shown.length - 1, place + step));
    draw();
  }
  function resize(step) {
    gain = Math.max(0, Math.min(FACTORS.length - 1, gain + step));
    draw();
  }

  at("events-kind").addEventListener("change", (change) => {
    shown = told.events.map((_, i) => i).filter((i) => ["all", told.events[i].kind].includes(change.target.value));
    place = 0;
    draw();
  });
  at("events-previous").addEventListener("click", () => go(-1));
  at("events-next").addEventListener("click", () => go(1));
  at("events-smaller").addEventListener("click", () => resize(-1));
  at("events-larger").addEventListener("click", () => resize(1));
  at("events").addEventListener("keydown", (key) => {
    if (key.target.tagName === "SELECT" || key.ctrlKey || key.metaKey || key.altKey) return;
    const step = { ArrowLeft: () => go(-1), ArrowRight: () => go(1), Home: () => go(-shown.length), End: () => go(shown.length),
      "+": () => resize(1), "=": () => resize(1), "-": () => resize(-1) }[key.key];
    if (step) { step(); key.preventDefault(); }
  });
  let before = width();
  new ResizeObserver(() => { if (width() !== before) { before = width(); draw(); } }).observe(at("events"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
