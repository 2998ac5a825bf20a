// Things to play with, without a kernel and without a request to any other place. Each takes the element to fill and its data; bioplaus.play writes both into the page.
const play = {};
const fill = (root, html) => { root.innerHTML = html; return name => root.querySelector(`[data-name="${name}"]`); };
const random = seed => () => { seed = (seed + 0x6D2B79F5) | 0; let t = Math.imul(seed ^ (seed >>> 15), 1 | seed); t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t; return ((t ^ (t >>> 14)) >>> 0) / 4294967296; };
const normal = draw => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };
const softmax = v => { const m = Math.max(...v), e = v.map(x => Math.exp(x - m)), s = e.reduce((a, b) => a + b, 0); return e.map(x => x / s); };
const paint = (canvas, pixels) => { // one square image, grey or in three planes of colours
  const planes = Number.isInteger(Math.sqrt(pixels.length)) ? 1 : 3, m = pixels.length / planes, n = Math.round(Math.sqrt(m));
  const context = canvas.getContext("2d"), image = context.createImageData(n, n);
  canvas.width = canvas.height = n;
  for (let i = 0; i < m; i++) image.data.set([0, 1, 2].map(c => 255 * pixels[planes == 3 ? c * m + i : i]).concat(255), 4 * i);
  context.putImageData(image, 0, 0);
};
const bar = (x, base, width, height, css) => `<rect x="${x}" y="${base - Math.max(0, height)}" width="${width}" height="${Math.abs(height)}" ${css}/>`;

// ---- a neuron with two inputs
play.neuron = root => {
  const $ = fill(root, `
    <div class="bp-controls">
      <label>Rule <select data-name="rule"><option>Hebb</option><option selected>Oja</option><option>BCM</option></select></label>
      <label>Points <select data-name="cloud"><option value="long">one long cloud</option><option value="two">two clusters</option><option value="none">none: place your own</option></select></label>
      <button type="button" data-name="one">Feed one point</button> <button type="button" data-name="run">Run</button> <button type="button" data-name="reset">Reset weights</button>
    </div>
    <svg data-name="plane" class="bp-plane" viewBox="-3 -3 6 6" tabindex="0" role="application" aria-label="Plane of the neuron's two inputs. Click to add a point; or move the cross with the arrow keys and press Enter.">
      <g transform="scale(1,-1)"><path d="M-3 0H3M0-3V3" class="bp-axis"/><g data-name="points"></g><line data-name="component" class="bp-component"/><line data-name="weight" class="bp-weight"/><circle data-name="tip" r=".09" class="bp-tip"/><path data-name="cross" class="bp-cross" d="M-.15 0H.15M0-.15V.15"/></g>
    </svg>
    <p data-name="said" class="bp-said" role="status"></p>`);
  const clouds = {
    long: draw => Array.from({length: 40}, () => { const a = 1.3 * normal(draw), b = .35 * normal(draw); return [.8 * a - .6 * b, .6 * a + .8 * b]; }),
    two: draw => Array.from({length: 40}, (_, i) => i % 2 ? [2 + .2 * normal(draw), .5 + .2 * normal(draw)] : [.5 + .2 * normal(draw), 2 + .2 * normal(draw)]),
    none: () => [],
  };
  let points, w, theta, fed, timer = null, at = [0, 0], draw = random(1);
  const clip = v => Math.max(-2.9, Math.min(2.9, v));
  const component = () => { // the leading direction of the points: of the mean of x x'
    let a = 0, b = 0, c = 0;
    points.forEach(([x, y]) => { a += x * x; b += x * y; c += y * y; });
    const turn = Math.atan2(2 * b, a - c) / 2;
    return [Math.cos(turn), Math.sin(turn)];
  };
  const show = () => {
    const size = Math.hypot(...w), answers = points.map(p => dot(w, p)), most = Math.max(1e-9, ...answers.map(Math.abs));
    const pc = component(), shown = Math.min(size, 2.8) / (size || 1), cosine = Math.min(1, Math.abs(dot(w, pc)) / (size || 1));
    $("points").innerHTML = points.map((p, i) => `<circle cx="${clip(p[0])}" cy="${clip(p[1])}" r=".07" class="${answers[i] < 0 ? "bp-minus" : "bp-plus"}" fill-opacity="${.15 + .85 * Math.abs(answers[i]) / most}"/>`).join("");
    for (const [name, [x1, y1, x2, y2]] of Object.entries({component: points.length ? [-3 * pc[0], -3 * pc[1], 3 * pc[0], 3 * pc[1]] : [0, 0, 0, 0], weight: [0, 0, w[0] * shown, w[1] * shown]}))
      Object.entries({x1, y1, x2, y2}).forEach(([k, v]) => $(name).setAttribute(k, v));
    $("tip").setAttribute("cx", w[0] * shown); $("tip").setAttribute("cy", w[1] * shown);
    $("cross").setAttribute("transform", `translate(${at[0]},${at[1]})`);
    const length = size > 1e6 ? "above a million: it has exploded" : size.toFixed(2);
    $("said").textContent = `${fed} points fed. Length of w: ${length}. Angle to the dashed line: ${(Math.acos(cosine) * 180 / Math.PI).toFixed(0)}°.` + ($("rule").value == "BCM" ? ` Threshold: ${theta.toFixed(2)}.` : "");
  };
  const feed = () => {
    if (!points.length || Math.hypot(...w) > 1e6) return;
    const x = points[Math.floor(draw() * points.length)], y = dot(w, x), rule = $("rule").value;
    const change = rule == "Hebb" ? x.map(v => y * v) : rule == "Oja" ? x.map((v, i) => y * (v - y * w[i])) : x.map(v => y * (y - theta) * v);
    theta += .05 * (y * y - theta);
    w = w.map((v, i) => v + (rule == "BCM" ? .004 : .02) * change[i]);
    fed++;
  };
  const stop = () => { clearInterval(timer); timer = null; $("run").textContent = "Run"; };
  const reset = () => { stop(); w = [-.1, .3]; theta = .1; fed = 0; draw = random(1); show(); };
  const add = p => { points.push(p.map(clip)); show(); };
  $("one").onclick = () => { feed(); show(); };
  $("run").onclick = () => { if (timer) return stop(); $("run").textContent = "Stop"; timer = setInterval(() => { for (let i = 0; i < 20; i++) feed(); show(); }, 40); };
  $("reset").onclick = reset; $("rule").onchange = reset;
  $("cloud").onchange = () => { points = clouds[$("cloud").value](random(7)); reset(); };
  $("plane").onclick = e => { const box = $("plane").getBoundingClientRect(); add([(e.clientX - box.left) / box.width * 6 - 3, 3 - (e.clientY - box.top) / box.height * 6]); };
  $("plane").onkeydown = e => {
    const step = {ArrowLeft: [-.2, 0], ArrowRight: [.2, 0], ArrowUp: [0, .2], ArrowDown: [0, -.2]}[e.key];
    if (step) { at = at.map((v, i) => clip(v + step[i])); e.preventDefault(); show(); }
    if (e.key == "Enter" || e.key == " ") { e.preventDefault(); add([...at]); }
  };
  $("cloud").onchange();
};

// ---- a controller, from nudge to clamp
play.control = (root, data) => {
  const last = data.gains.length - 1, $ = fill(root, `
    <div class="bp-controls"><canvas data-name="image" class="bp-image" role="img" aria-label="The image that the network sees, a ${data.label}"></canvas>
      <label>Gain of the controller <input data-name="gain" type="range" min="0" max="${last}" value="0"></label> <output data-name="value"></output></div>
    <svg data-name="bars" class="bp-wide" viewBox="0 0 560 ${125 * data.layers.length + 5}" role="img" aria-label="Activity of each layer: free (outline) and under control (filled)"></svg>
    <svg data-name="update" class="bp-matrix" viewBox="0 0 ${data.update.columns} ${data.update.rows}" role="img" aria-label="Change of the weights from hidden layer 1 (columns) to hidden layer 2 (rows)"></svg>
    <p data-name="said" class="bp-said" role="status"></p>`);
  const wide = 560;
  const layer = (l, k, top) => {
    const {name, free, held, scale, low} = data.layers[l], w = wide / free.length, base = top + (low < 0 ? 70 : 105), h = v => v / scale * (low < 0 ? 46 : 80);
    const box = (v, i, css) => bar(i * w + 1, base, w - 2, h(v), css);
    const number = i => `<text x="${(i + .5) * w}" y="${base + 16}" text-anchor="middle" class="bp-text">${i}</text>`;
    return `<text x="0" y="${top + 14}" class="bp-text">${name}</text><path d="M0 ${base}H${wide}" class="bp-axis"/>` + held[k].map((v, i) => box(v, i, 'class="bp-plus"')).join("")
      + free.map((v, i) => box(v, i, 'class="bp-outline"')).join("") + (l == data.layers.length - 1 ? free.map((_, i) => number(i)).join("") : "");
  };
  const show = () => {
    const k = +$("gain").value, {columns, frames} = data.update, most = Math.max(...frames[k].map(Math.abs)) || 1;
    $("value").textContent = String(+data.gains[k].toPrecision(2));
    $("gain").setAttribute("aria-valuetext", `gain ${$("value").textContent}`);
    $("bars").innerHTML = data.layers.map((_, l) => layer(l, k, 125 * l)).join("");
    $("update").innerHTML = frames[k].map((v, i) => `<rect x="${i % columns}" y="${Math.floor(i / columns)}" width="1" height="1" class="${v < 0 ? "bp-minus" : "bp-plus"}" fill-opacity="${Math.abs(v) / most}"/>`).join("");
    $("said").textContent = `Probability of “${data.label}”: ${(100 * data.reached[k]).toFixed(1)}% (free: ${(100 * data.free).toFixed(1)}%). Length of the control signal: ${data.push[k].toPrecision(2)}. Length of the update: ${data.size[k].toPrecision(2)}; angle to backprop's: ${data.angle[k].toFixed(0)}°.`;
  };
  paint($("image"), data.image);
  $("gain").oninput = show;
  show();
};

// ---- small networks that answer in the page
const decode = text => Int8Array.from(atob(text), c => c.charCodeAt(0));
const read = net => ({...net, layers: net.layers.map(l => ({b: l.b, W: (q => l.scale.map((s, i) => Float32Array.from(q.subarray(i * l.n, (i + 1) * l.n), v => v * s)))(decode(l.w))}))});
const lengthOf = v => Math.sqrt(dot(v, v)) || 1e-12;
const units = {
  tanh: v => v.map(Math.tanh), sigmoid: v => v.map(x => 1 / (1 + Math.exp(-x))), relu: v => v.map(x => Math.max(0, x)),
  power: (v, n) => { const m = Math.max(1e-12, ...v), q = v.map(x => (Math.max(0, x) / m) ** n), s = lengthOf(q); return q.map(x => x / s); },
};
const back = { // the push on v, for a push g on r
  tanh: (g, v, r) => g.map((x, i) => x * (1 - r[i] * r[i])), sigmoid: (g, v, r) => g.map((x, i) => x * r[i] * (1 - r[i])), relu: (g, v) => g.map((x, i) => v[i] > 0 ? x : 0),
  power: (g, v, r, n) => { const m = Math.max(1e-12, ...v), s = lengthOf(v.map(x => (Math.max(0, x) / m) ** n)), along = dot(g, r); return g.map((x, i) => v[i] > 0 ? (x - r[i] * along) / s * n * (v[i] / m) ** (n - 1) / m : 0); },
};
const of = (value, i, n) => Array.isArray(value) ? value[Math.floor(i * value.length / n)] : value; // of pixel i: one for all, or one for each channel
const forward = (net, x) => {
  const size = lengthOf(x), z = net.unit ? x.map(v => v / size) : x.map((v, i) => (v - of(net.mean, i, x.length)) / of(net.std, i, x.length)), states = [];
  let r = z;
  net.layers.forEach((l, k) => { const v = l.W.map((row, i) => dot(row, r) + l.b[i]), out = k < net.layers.length - 1 ? units[net.act](v, net.power) : v; states.push({v, r: out}); r = out; });
  return {z, size, states, logits: r};
};
const gradient = (net, x, y) => { // of the cross-entropy, with respect to the pixels
  const {z, size, states, logits} = forward(net, x);
  let g = softmax(logits).map((p, i) => p - (i == y));
  for (let k = net.layers.length - 1; k >= 0; k--) {
    const down = new Float64Array(net.layers[k].W[0].length);
    net.layers[k].W.forEach((row, i) => { for (let j = 0; j < down.length; j++) down[j] += row[j] * g[i]; });
    g = k ? back[net.act](Array.from(down), states[k - 1].v, states[k - 1].r, net.power) : Array.from(down);
  }
  const along = dot(g, z);
  return net.unit ? g.map((v, i) => (v - z[i] * along) / size) : g.map((v, i) => v / of(net.std, i, g.length));
};
play.answers = (root, data) => {
  const nets = data.nets.map(read), images = data.images.map(t => Array.from(decode(t), v => (v & 255) / 255));
  const $ = fill(root, `
    <div class="bp-controls">
      <button type="button" data-name="next">Next image</button> <button type="button" data-name="redraw">New noise</button>
      <label>Noise σ <input data-name="noise" type="range" min="0" max="1" step=".05" value="0"></label><output data-name="sigma"></output>
      <label>Attack ε <input data-name="attack" type="range" min="0" max=".3" step=".01" value="0"></label><output data-name="epsilon"></output>
    </div>
    <div class="bp-cards">${nets.map((n, i) => `<div class="bp-card"><b>${n.name}</b><canvas data-name="image${i}" class="bp-image" role="img" aria-label="What ${n.name} sees"></canvas><svg data-name="bars${i}" viewBox="0 0 120 70" role="img" aria-label="Probabilities of the digits 0 to 9"></svg><span data-name="answer${i}"></span></div>`).join("")}</div>
    <p data-name="said" class="bp-said" role="status"></p>`);
  let at = 0, seed = 1;
  const seen = (net, y) => {
    const draw = random(seed), sigma = +$("noise").value, epsilon = +$("attack").value, clip = v => Math.max(0, Math.min(1, v));
    const x = sigma ? images[at].map(p => clip(p + sigma * normal(draw))) : images[at];
    return epsilon ? (g => x.map((p, i) => clip(p + epsilon * Math.sign(g[i]))))(gradient(net, x, y)) : x;
  };
  const show = () => {
    const y = data.labels[at], answers = [];
    $("sigma").textContent = (+$("noise").value).toFixed(2); $("epsilon").textContent = (+$("attack").value).toFixed(2);
    nets.forEach((net, i) => {
      const x = seen(net, y), p = softmax(forward(net, x).logits), best = p.indexOf(Math.max(...p));
      answers.push(best);
      paint($(`image${i}`), x);
      $(`bars${i}`).innerHTML = p.map((v, k) => bar(12 * k + 1, 55, 10, 50 * v, `class="${k == y ? "bp-plus" : "bp-minus"}"`) + `<text x="${12 * k + 6}" y="67" text-anchor="middle" class="bp-text">${k}</text>`).join("");
      $(`answer${i}`).textContent = `${best == y ? "✓" : "✗"} says ${best} (${(100 * p[best]).toFixed(0)}%)`;
    });
    $("said").textContent = `Image ${at + 1} of ${images.length}, a ${y}. ${answers.filter(a => a == y).length} of ${nets.length} are right. Each attack goes through the network's own gradient.`;
  };
  $("next").onclick = () => { at = (at + 1) % images.length; show(); };
  $("redraw").onclick = () => { seed++; show(); };
  $("noise").oninput = $("attack").oninput = show;
  root.networks = {nets, images, forward, gradient}; // for tests, and for the curious in the console
  show();
};

// ---- which images a layer holds together: an RDM and a map, with the images behind them
play.explorer = (root, data) => {
  const n = data.labels.length, bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const images = data.images.map(t => Array.from(bytes(t), v => v / 255));
  const views = data.views.map(v => ({...v, q: bytes(v.rdm)}));
  const place = (i, j) => i < j ? i * n - i * (i + 1) / 2 + j - i - 1 : place(j, i); // in the upper triangle, row by row
  const distance = (v, i, j) => i == j ? 0 : v.q[place(i, j)] / 255 * v.top;
  const nearest = (v, i, k) => data.labels.map((_, j) => j).filter(j => j != i).sort((a, b) => distance(v, i, a) - distance(v, i, b)).slice(0, k);
  const hue = c => (c * 360 / data.classes.length + 10) % 360, name = i => data.classes[data.labels[i]];
  const $ = fill(root, `
    <div class="bp-controls"><label>Layer <select data-name="view">${views.map((v, k) => `<option value="${k}">${v.name}</option>`).join("")}</select></label></div>
    <div class="bp-pair">
      <svg data-name="rdm" viewBox="-9 -1 ${n + 10} ${n + 10}" tabindex="0" role="application" aria-label="Distances between all pairs of images. Point at a cell, or move with the arrow keys.">
        <image data-name="cells" width="${n}" height="${n}" preserveAspectRatio="none"/><g data-name="ticks"></g><path data-name="cross" class="bp-hair"/></svg>
      <svg data-name="map" viewBox="-110 -110 220 220" tabindex="0" role="application" aria-label="Map of the images by t-SNE. Point at a digit, or go to a neighbour with the arrow keys.">
        <g data-name="lines"></g><g data-name="dots"></g><circle data-name="ring" r="7" class="bp-ring"/><circle data-name="other" r="7" class="bp-ring bp-dashed"/></svg>
    </div>
    <div class="bp-cards bp-few"><div class="bp-card"><b>image</b><canvas data-name="first" class="bp-image" role="img"></canvas></div><div class="bp-card"><b>and</b><canvas data-name="second" class="bp-image" role="img"></canvas></div>
      ${[0, 1, 2, 3, 4].map(k => `<div class="bp-card"><span>${k ? `${k + 1}.` : "nearest"}</span><canvas data-name="near${k}" class="bp-image bp-small" role="img"></canvas></div>`).join("")}</div>
    <p data-name="said" class="bp-said" role="status"></p><p data-name="about" class="bp-said"></p>`);
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const colour = t => { const k = Math.min(3, Math.floor(4 * t)), f = 4 * t - k; return stops[k].map((c, i) => Math.round(c + f * (stops[k + 1][i] - c))); };
  let view, i = 0, j = 1;
  const picture = (canvas, k) => { paint($(canvas), images[k]); $(canvas).setAttribute("aria-label", `A ${name(k)}, image ${k + 1} of ${n}`); };
  const show = () => {
    const near = nearest(view, i, 5), same = near.filter(k => data.labels[k] == data.labels[i]).length, d = distance(view, i, j);
    const at = (ring, k) => { $(ring).setAttribute("cx", view.xy[2 * k]); $(ring).setAttribute("cy", view.xy[2 * k + 1]); };
    at("ring", i); at("other", j);
    $("lines").innerHTML = near.map(k => `<line x1="${view.xy[2 * i]}" y1="${view.xy[2 * i + 1]}" x2="${view.xy[2 * k]}" y2="${view.xy[2 * k + 1]}" class="bp-hair"/>`).join("");
    $("cross").setAttribute("d", `M0 ${i + .5}H${n}M${j + .5} 0V${n}`);
    picture("first", i); picture("second", j);
    near.forEach((k, m) => picture(`near${m}`, k));
    const farther = view.q.filter(q => q / 255 * view.top > d).length;
    $("said").textContent = i == j ? `A ${name(i)} with itself.` : `A ${name(i)} and ${name(i) == name(j) ? "another" : `a ${name(j)}`}: distance ${d.toFixed(2)}, closer than ${(100 * farther / view.q.length).toFixed(0)}% of all pairs. Of the five images nearest to the first, ${same} show a ${name(i)}.`;
  };
  const choose = () => {
    view = views[+$("view").value];
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
    canvas.width = canvas.height = n;
    const cells = context.createImageData(n, n);
    for (let a = 0; a < n; a++) for (let b = 0; b < n; b++) cells.data.set([...colour(distance(view, a, b) / view.top), 255], 4 * (a * n + b));
    context.putImageData(cells, 0, 0);
    $("cells").setAttribute("href", canvas.toDataURL());
    $("dots").innerHTML = data.labels.map((c, k) => `<text x="${view.xy[2 * k]}" y="${view.xy[2 * k + 1] + 3}" text-anchor="middle" class="bp-digit" style="--hue:${hue(c)}">${data.classes[c]}</text>`).join("");
    $("about").textContent = `${view.name}: ${(100 * view.knn).toFixed(0)}% of the images are of the class that most of their five nearest neighbours in this layer have.` + (view.alike == null ? "" : ` Rank correlation of its distances with those of the pixels: ${view.alike.toFixed(2)}.`) + ` The map keeps neighbourhoods to ${view.trust.toFixed(2)} (trustworthiness; 1 is perfect).`;
    show();
  };
  const point = (svg, e) => { const p = new DOMPoint(e.clientX, e.clientY).matrixTransform($(svg).getScreenCTM().inverse()); return [p.x, p.y]; };
  const inside = v => Math.max(0, Math.min(n - 1, Math.floor(v)));
  const go = k => { i = k; j = nearest(view, i, 1)[0]; show(); };
  const pair = e => { const [x, y] = point("rdm", e); i = inside(y); j = inside(x); show(); };
  const digit = e => { const [x, y] = point("map", e), far = k => Math.hypot(view.xy[2 * k] - x, view.xy[2 * k + 1] - y); go(data.labels.map((_, k) => k).sort((a, b) => far(a) - far(b))[0]); };
  $("rdm").onpointermove = $("rdm").onpointerdown = pair;
  $("map").onpointermove = $("map").onpointerdown = digit;
  const arrows = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  $("rdm").onkeydown = e => { const s = arrows[e.key]; if (s) { e.preventDefault(); i = inside(i + s[1]); j = inside(j + s[0]); show(); } };
  $("map").onkeydown = e => { // to the nearest digit within 45 degrees of the arrow
    const s = arrows[e.key];
    if (!s) return;
    e.preventDefault();
    const there = data.labels.map((_, k) => { const dx = view.xy[2 * k] - view.xy[2 * i], dy = view.xy[2 * k + 1] - view.xy[2 * i + 1], along = dx * s[0] + dy * s[1]; return {k, along, far: Math.hypot(dx, dy)}; });
    const best = there.filter(t => t.k != i && t.along > .7 * t.far).sort((a, b) => a.far - b.far)[0];
    if (best) go(best.k);
  };
  const starts = data.labels.map((c, k) => k).filter(k => !k || data.labels[k] != data.labels[k - 1]).concat(n);
  $("ticks").innerHTML = starts.slice(0, -1).map((s, k) => { const mid = (s + starts[k + 1]) / 2, c = data.classes[data.labels[s]]; return `<text x="${mid}" y="${n + 7}" text-anchor="middle" class="bp-tick">${c}</text><text x="-4" y="${mid + 2}" text-anchor="middle" class="bp-tick">${c}</text>`; }).join("");
  $("view").onchange = choose;
  root.explorer = {views, images, distance}; // for tests, and for the curious in the console
  choose();
};
