'use strict';
(() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const colour = (pen) => dark.matches ? pen.dark : pen.light;
  const shown = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const digits = (n) => new Intl.NumberFormat('en', { maximumSignificantDigits: n });
  const number = (v, n) => v !== 0 && (Math.abs(v) < 1e-6 || Math.abs(v) >= 1e12) ? v.toExponential(n - 1) : digits(n).format(v);
  const withUnit = (axis, v) => number(v, 4) + (axis.unit && ' ' + axis.unit);

  // A bar between every two edges, drawn from the points themselves.
  const bars = (line) => (u) => {
    const path = new Path2D();
    const base = u.valToPos(Math.max(0, u.scales.y.min), 'y', true);
    line.y.forEach((y, i) => {
      if (y === 0) return;
      const left = u.valToPos(line.x[i], 'x', true);
      const top = u.valToPos(y, 'y', true);
      path.rect(left, top, u.valToPos(line.x[i + 1], 'x', true) - left, base - top);
    });
    return { stroke: path, fill: path, clip: null, band: null, gaps: null, flags: 3 };
  };

  const series = (plot, line) => ({
    label: line.name,
    stroke: () => colour(line.pen),
    width: 2,
    dash: line.pen.dash.map((d) => d * 1.3),
    fill: plot.shape === 'bars' ? () => colour(line.pen) + '30' : undefined,
    paths: { line: uPlot.paths.linear(), step: uPlot.paths.stepped({ align: 1 }), bars: bars(line) }[plot.shape],
    points: { show: plot.shape === 'line' && line.x.length <= 30, size: 7, fill: shown('--page') },
    value: (u, v) => v == null ? '–' : withUnit(plot.y, v),
  });

  // A logarithmic axis has ticks at whole multiples of powers of ten, of which 1, 2 and 5
  // have labels while there is space; a short part of it is divided evenly.
  const few = (min, max) => max / min < 5;
  const logSplits = (u, n, min, max) => {
    const found = [];
    if (few(min, max)) {
      const rough = (max - min) / 6;
      const power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map((of) => of * power).find((of) => of >= rough);
      for (let k = Math.ceil(min / step); k * step <= max; k++) found.push(k * step);
      return found;
    }
    for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max) + 1; power++) {
      for (let of = 1; of < 10; of++) {
        const at = Number(`${of}e${power}`);
        if (at >= min * (1 - 1e-9) && at <= max * (1 + 1e-9)) found.push(at);
      }
    }
    return found;
  };
  const logFilter = (space) => (u, splits, n) => {
    const { min, max } = u.scales[u.axes[n].scale];
    if (few(min, max)) return splits;
    const decade = (n === 0 ? u.bbox.width : u.bbox.height) / devicePixelRatio / Math.log10(max / min);
    const every = Math.ceil(space / decade);
    return splits.map((v) => {
      const [digit, power] = v.toExponential().split('e').map(Number);
      return (digit === 1 ? power % every === 0 : (digit === 2 || digit === 5) && decade * 0.3 >= space) ? v : null;
    });
  };

  const axis = (of, space, more) => ({
    label: of.title,
    space,
    ...of.log ? { splits: logSplits, filter: logFilter(space) } : {},
    stroke: shown('--ink'),
    grid: { stroke: shown('--line'), width: 1 },
    ticks: { stroke: shown('--line'), width: 1 },
    font: '12px system-ui, sans-serif',
    labelFont: '13px system-ui, sans-serif',
    values: (u, at) => at.map((v) => v == null ? '' : number(v, 6)),
    ...more,
  });

  // All of the data is shown within the frame that was chosen for it, a part of it as it
  // was asked for.
  const scale = (of, within) => ({ time: false, distr: of.log ? 3 : 1, range: within });
  const part = (of) => (u, min, max) => min > u.data[0][0] || max < u.data[0].at(-1) ? [min, max] : [of.min, of.max];

  // The point of a series that a place on the x axis belongs to: the last one that is
  // not beyond it, or, where points are joined by lines, the nearest.
  const pointAt = (plot) => (u, s, at, x) => {
    const ys = u.data[s];
    if (s === 0) return at;
    let before = at;
    while (before >= 0 && (ys[before] == null || u.data[0][before] > x)) before--;
    if (plot.shape !== 'line') return before < 0 ? null : before;
    let after = at;
    while (after < ys.length && (ys[after] == null || u.data[0][after] < x)) after++;
    if (before < 0) return after < ys.length ? after : null;
    if (after >= ys.length) return before;
    const here = u.valToPos(x, 'x');
    return here - u.valToPos(u.data[0][before], 'x') <= u.valToPos(u.data[0][after], 'x') - here ? before : after;
  };

  // Names in the legend are preceded by how their line looks, and are reached by keyboard.
  const legend = (plot) => (u) => {
    u.root.querySelectorAll('.u-series').forEach((row, n) => {
      if (n === 0) return;
      const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
      const stroke = document.createElementNS('http://www.w3.org/2000/svg', 'line');
      const pen = plot.series[n - 1].pen;
      for (const [name, value] of Object.entries({ width: 56, height: 10, 'aria-hidden': true })) svg.setAttribute(name, value);
      for (const [name, value] of Object.entries({
        x1: 0, x2: 56, y1: 5, y2: 5, stroke: colour(pen), 'stroke-width': 2.5, 'stroke-dasharray': pen.dash.map((d) => d * 1.3).join(' '),
      })) stroke.setAttribute(name, value);
      dark.addEventListener('change', () => stroke.setAttribute('stroke', colour(pen)));
      svg.append(stroke);
      const head = row.querySelector('th');
      head.prepend(svg);
      head.tabIndex = 0;
      head.addEventListener('keydown', (e) => {
        if (e.key !== 'Enter' && e.key !== ' ') return;
        e.preventDefault();
        head.click();
      });
    });
  };

  const draw = (plot, into) => {
    const width = () => Math.max(280, into.clientWidth);
    const data = uPlot.join(plot.series.map((line) => [line.x, line.x.map((_, i) => line.y[i] ?? null)]));
    const u = new uPlot({
      width: width(),
      height: 380,
      legend: { markers: { show: false } },
      cursor: { dataIdx: pointAt(plot), drag: { x: true, y: false } },
      scales: { x: scale(plot.x, part(plot.x)), y: scale(plot.y, () => [plot.y.min, plot.y.max]) },
      padding: [12, 36, 0, 0],
      axes: [axis(plot.x, 72, {}), axis(plot.y, 32, { size: 74 })],
      series: [{ label: plot.x.label, value: (u, v) => v == null ? '–' : withUnit(plot.x, v) }, ...plot.series.map((line) => series(plot, line))],
      hooks: { ready: [legend(plot)] },
    }, data, into);
    new ResizeObserver(() => { if (into.clientWidth > 0) u.setSize({ width: width(), height: 380 }); }).observe(into);
    dark.addEventListener('change', () => u.redraw());
  };

  const plots = JSON.parse(document.getElementById('plots').textContent);
  for (const into of document.querySelectorAll('.plot')) {
    into.parentElement.classList.add('drawn'); // or it has no width
    try {
      draw(plots[into.dataset.plot], into);
    } catch (fault) { // the drawing for paper is there still, and the plots after this one
      into.parentElement.classList.remove('drawn');
      reportError(fault);
    }
  }
})();
