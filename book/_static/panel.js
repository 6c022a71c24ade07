// The table of a chapter's parameters becomes a panel: a field in each row, the command that runs
// the page with what they say, and a link that carries it behind "#", which no browser sends.
// Without JavaScript and on paper the table stays as it is.
(() => {
  "use strict";

  const FRAGMENT = "#run?", LONGEST = 8000, MANY = 5;
  const KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"};

  // As Python reads numbers and strips text.
  const DIGITS = String.raw`\d+(?:_\d+)*`;
  const WHOLE = new RegExp(`^[+-]?${DIGITS}$`);
  const NUMBER = new RegExp(`^[+-]?(?:${DIGITS}(?:\\.(?:${DIGITS})?)?|\\.${DIGITS})(?:e[+-]?${DIGITS})?$`, "i");
  const NOT_FINITE = /^[+-]?(?:nan|inf|infinity)$/i;
  const SPACE = String.raw`[\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+`;
  const AROUND = new RegExp(`^${SPACE}|${SPACE}$`, "g");

  // The same rule as stackbook.press.chapters.plain, but for a tie at the 13th digit.
  function plain(value) {
    if (typeof value === "boolean") return value ? "True" : "False";
    if (typeof value === "string") return value;
    const [mantissa, exponent] = value.toExponential(11).split("e").map(Number);
    if (Math.abs(value) >= 1e7) return `${mantissa}e${exponent}`;
    if (exponent < -4) return `${mantissa}e-${String(-exponent).padStart(2, "0")}`;
    return String(Number(value.toPrecision(12)));
  }

  const written = (parameter, value) => parameter.kind === "int" ? String(value) : plain(value);

  // The same rule and words as stackbook.press.chapters.Parameter.check: a value, or what is wrong.
  function check(parameter, text) {
    const {kind, unit, low, high, choices} = parameter;
    const bounds = choices.length ? choices.join(" · ") : low === null ? "" : `${plain(low)} to ${plain(high)}`;
    const wanted = `give ${KINDS[kind]}${bounds && `, ${bounds}`} [${unit}]`;
    if (kind === "bool") {
      const value = {true: true, false: false}[text.toLowerCase()];
      return value === undefined ? {wrong: `: ${wanted}`} : {value};
    }
    if (kind === "str") {
      if (text.includes("\0")) return {wrong: ` does not fit into a command: ${wanted}`};
      const admitted = !choices.length || choices.includes(text);
      return admitted ? {value: text} : {wrong: ` is not admitted: ${wanted}`};
    }
    if (kind === "float" && NOT_FINITE.test(text)) return {wrong: ` is not finite: ${wanted}`};
    if (!(kind === "int" ? WHOLE : NUMBER).test(text)) return {wrong: `: ${wanted}`};
    const value = Number(text.replaceAll("_", ""));
    if (kind === "float" && !Number.isFinite(value)) return {wrong: ` is not finite: ${wanted}`};
    return low <= value && value <= high ? {value} : {wrong: ` is out of bounds: ${wanted}`};
  }

  // The same rule as Python's shlex.quote.
  function quote(text) {
    return text && !/[^\w@%+=:,./-]/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
  }

  const stripped = (text) => text.replace(AROUND, "");
  const short = (text) => text.length > 60 ? `${text.slice(0, 60)}…` : text;
  const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function field(parameter) {
    const {kind, choices} = parameter;
    const offered = kind === "bool" ? ["True", "False"] : choices;
    if (offered.length) {
      return element("select", {}, ...offered.map((each) => element("option", {value: each}, each)));
    }
    const properties = {autocomplete: "off", autocapitalize: "off", spellcheck: false};
    if (kind === "str") return element("textarea", {...properties, rows: 1});
    return element("input", {...properties, type: "text", inputMode: "decimal"});
  }

  async function copy(text, button) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // no such thing on plain http
      const area = element("textarea", {value: text, className: "panel-copied"});
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = done ? "Copied" : "Copy by hand";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  // A labelled text to copy; `shows` is the element that has it.
  function output(label, shows) {
    const button = element("button", {type: "button"}, "Copy");
    button.setAttribute("aria-label", `Copy: ${label}`);
    button.addEventListener("click", () => copy(shows.textContent, button));
    return element("div", {className: "panel-output"}, element("span", {}, label), shows, button);
  }

  function panel(data) {
    const {chapter, parameters} = JSON.parse(data.textContent);
    const section = data.closest("section");
    const table = section.querySelector("table.stackbook-params");
    const byName = new Map(parameters.map((each) => [each.name, each]));

    const told = element("div", {className: "panel-told"});
    const state = element("span");
    for (const live of [told, state]) live.setAttribute("role", "status");
    const reset = element("button", {type: "button"}, "Reset all");
    reset.title = "Every value back to the book's";
    const run = element("code"), build = element("code"), link = element("code");

    parameters.forEach((parameter, k) => {
      const {name, unit, choices} = parameter;
      const row = table.tBodies[0].rows[k];
      const [value, bounds] = [row.cells[1], row.cells[row.cells.length - 2]];
      const meaning = row.cells[row.cells.length - 1];
      if (row.cells.length > 5) row.cells[2].className = "panel-paper";  // the default
      value.replaceChildren(element("div", {className: "panel-paper"}, ...value.childNodes));
      const limits = element("span", {className: "panel-limits", id: `panel-${k}-bounds`}, ...bounds.childNodes);
      if (choices.length) limits.classList.add("panel-unseen");  // the field lists them
      meaning.id = `panel-${k}-meaning`;

      const input = field(parameter);
      const wrong = element("p", {className: "panel-wrong", id: `panel-${k}-wrong`});
      wrong.setAttribute("role", "alert");
      input.setAttribute("aria-label", unit === "-" ? name : `${name} [${unit}]`);
      input.setAttribute("aria-describedby", `${wrong.id} ${limits.id} ${meaning.id}`);
      input.addEventListener("input", update);
      value.append(input);

      const back = element("button", {type: "button", className: "panel-back"});
      const was = written(parameter, parameter.default);
      back.textContent = was ? `Back to ${short(was)}` : "Back to nothing";
      back.setAttribute("aria-label", `${name}: ${back.textContent}, the book's value`);
      back.title = "The book's value";
      back.addEventListener("click", () => {
        set(parameter, parameter.default);
        update();
        input.focus();
      });
      bounds.replaceChildren(limits, back, wrong);
      row.classList.toggle("is-wide", input.tagName !== "INPUT" && (unit === "-" || unit === "path"));
      Object.assign(parameter, {row, input, wrong, back});
      set(parameter, parameter.value);
    });

    function set(parameter, value) {
      parameter.input.value = written(parameter, value);
    }

    // What follows from the fields: errors, marks, commands and link.
    function update() {
      const given = [];
      let refused = 0;
      for (const parameter of parameters) {
        const {name, input, row, wrong, back} = parameter;
        const text = stripped(input.value);
        const read = check(parameter, text);
        const changed = read.value !== parameter.default;
        if (read.wrong) refused += 1;
        else if (changed) given.push([name, written(parameter, read.value)]);
        wrong.textContent = read.wrong ? short(text) + read.wrong : "";
        input.setAttribute("aria-invalid", String(Boolean(read.wrong)));
        back.hidden = !changed;
        row.classList.toggle("is-changed", changed);
      }
      const said = given.map(([name, text]) => ` -p ${name}=${quote(text)}`).join("");
      run.textContent = `stackbook run ${quote(chapter)}${said}`;
      build.textContent = `stackbook build --only ${quote(chapter)}${said}`;
      const query = String(new URLSearchParams(given)).replaceAll("+", "%20");
      link.textContent = location.href.split("#")[0] + (query && FRAGMENT + query);
      state.textContent = given.length ? `${count(given.length, "value differs", "values differ")} from the book’s.` : "All values are the book’s.";
      if (refused) state.textContent += ` ${count(refused, "is", "are")} not admitted and left out.`;
      reset.hidden = !given.length && !refused;
    }

    // Fill the panel from the address: what it does not name is the book's, as in the command.
    function follow() {
      if (!location.hash.startsWith(FRAGMENT)) return;
      const query = location.hash.slice(FRAGMENT.length);
      const refused = [];
      if (query.length > LONGEST) {
        refused.push(`all of it, for it is ${query.length} characters long, more than ${LONGEST}`);
      } else {
        for (const parameter of parameters) set(parameter, parameter.default);
        for (const [name, text] of new URLSearchParams(query)) {
          const parameter = byName.get(name);
          const read = parameter ? check(parameter, stripped(text)) : {wrong: ": this page has no such parameter"};
          if (read.wrong) refused.push(`${short(name)} = ${short(text)}${read.wrong}`);
          else set(parameter, read.value);
        }
      }
      const lines = refused.slice(0, MANY);
      if (refused.length > MANY) lines.push(`and ${refused.length - MANY} more`);
      const list = element("ul", {}, ...lines.map((line) => element("li", {}, line)));
      told.replaceChildren(...(lines.length ? ["Left out of what the link says:", list] : ["Filled in from the link."]));
      update();
      section.scrollIntoView({behavior: "instant"});
    }

    reset.addEventListener("click", () => {
      for (const parameter of parameters) set(parameter, parameter.default);
      told.replaceChildren();
      update();
      parameters[0].input.focus();
    });

    section.classList.add("stackbook-panel");
    table.parentElement.before(told);
    data.after(
      element("div", {className: "panel-state"}, state, reset),
      element("div", {className: "panel-outputs"},
        element("p", {}, "The page’s numbers change when you run it. Nothing that you type here is sent."),
        output("Print its findings", run), output("Make its page", build), output("Share these values", link)),
    );
    update();
    follow();
    addEventListener("hashchange", follow);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("script.stackbook-parameters").forEach(panel);
  });
})();
