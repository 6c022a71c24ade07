// Draw each chart with Vega when it nears the view, at the page's width and in its colours.
// Until then, without JavaScript, on paper and on failure, the still picture stands in its place.
(() => {
  "use strict";

  const NARROW = 520, AXIS = 56, GAP = 20;

  // The same rule as stackbook.charts.fit.
  function fit(spec, width) {
    const legend = {...spec.config?.legend, columns: Math.max(1, Math.trunc(width / 160))};
    spec = {...spec, config: {...spec.config, legend}};
    const many = "concat" in spec ? "concat" : "hconcat" in spec ? "hconcat" : null;
    if (!many && !("spec" in spec)) return {...spec, width, autosize: {type: "fit-x", contains: "padding"}};
    const parts = many ? spec[many] : [];
    if (many) delete spec[many];
    const columns = width < NARROW ? 1 : spec.columns ?? (parts.length || 1);
    const axes = many ? columns : 1;
    const each = Math.trunc((width - AXIS * axes - GAP * (columns - 1)) / columns);
    if (many) return {...spec, columns, concat: parts.map((part) => ({...part, width: each}))};
    return {...spec, columns, spec: {...spec.spec, width: each}};
  }

  // The colours of stackbook.charts, as the page's theme has them.
  function themed(text) {
    const style = getComputedStyle(document.documentElement);
    return text.replace(/#[0-9a-f]{6}\b/g, (c) => style.getPropertyValue(`--chart-${c.slice(1)}`).trim() || c);
  }

  const vegaUrl = new URL("vega.js", document.currentScript.src).href;
  let vega;
  const loadVega = () => vega ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = vegaUrl;
    script.onload = () => resolve(window.vegaEmbed);
    script.onerror = reject;
    document.head.append(script);
  });

  const drawn = new Map();  // figure → {width, result}

  async function draw(figure) {
    const width = Math.floor(figure.clientWidth);
    const before = drawn.get(figure);
    drawn.set(figure, {...before, width});
    try {
      const embed = await loadVega();
      const spec = fit(JSON.parse(themed(figure.querySelector("script").textContent)), width);
      spec.config.font = getComputedStyle(document.body).fontFamily;
      for (const param of spec.params ?? []) {
        if (param.bind && before?.result) param.value = before.result.view.signal(param.name);
      }
      const dark = document.documentElement.dataset.theme === "dark";
      const box = figure.querySelector(".chart-live");
      const result = await embed(box, spec, {
        renderer: "svg", actions: false, defaultStyle: false, tooltip: {theme: dark ? "dark" : "light"},
      });
      before?.result?.finalize();
      drawn.set(figure, {width, result});
      figure.classList.add("is-live");
    } catch {
      figure.classList.remove("is-live");
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const near = new IntersectionObserver((entries) => {
      for (const {isIntersecting, target} of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        draw(target);
        resized.observe(target);
      }
    }, {rootMargin: "400px"});

    let wait;
    const resized = new ResizeObserver(() => {
      clearTimeout(wait);
      wait = setTimeout(() => drawn.forEach(({width}, figure) => {
        if (figure.clientWidth && Math.floor(figure.clientWidth) !== width) draw(figure);
      }), 150);
    });

    new MutationObserver(() => drawn.forEach((_, figure) => draw(figure)))
      .observe(document.documentElement, {attributeFilter: ["data-theme"]});

    document.querySelectorAll("figure.chart").forEach((figure) => near.observe(figure));
  });

  // Paper is white.
  let theme;
  addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
  });
  addEventListener("afterprint", () => { document.documentElement.dataset.theme = theme; });
})();
