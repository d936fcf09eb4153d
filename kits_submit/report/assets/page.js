"use strict";
/* The table of cases: sort, filter, worst first; and which case is open, as the address's hash says. */

(() => {
  const table = document.getElementById("cases");
  const body = table?.tBodies[0];
  const heads = table ? [...table.tHead.rows[0].cells] : [];
  const rows = body ? [...body.rows] : [];

  function valueOf(row, column) {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : null;
  }

  /* Cells without a number are last, whichever way the others go. */
  function sortBy(column, descending, key = (value) => value) {
    const text = heads[column].dataset.kind === "text";
    const sorted = [...body.rows].sort((a, b) => {
      if (text) {
        const order = a.cells[column].textContent.localeCompare(b.cells[column].textContent, undefined, { numeric: true });
        return descending ? -order : order;
      }
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === null || y === null) return (x === null) - (y === null);
      return descending ? key(y) - key(x) : key(x) - key(y);
    });
    body.append(...sorted);
    heads.forEach((head, n) => head.setAttribute("aria-sort", n !== column ? "none" : descending ? "descending" : "ascending"));
  }

  function worstFirst(name) {
    const column = heads.findIndex((head) => head.dataset.key === name);
    if (column < 0) return;
    const way = Number(heads[column].dataset.worse);
    sortBy(column, way !== -1, way === 2 ? Math.abs : undefined);
    const failed = [...body.rows].filter((row) => row.dataset.status !== "done");
    body.prepend(...failed);
  }

  function filter() {
    const wanted = document.getElementById("filter").value.toLowerCase();
    const status = document.getElementById("status").value;
    let shown = 0;
    for (const row of rows) {
      const told = [0, 1, 2].map((n) => row.cells[n].textContent).join(" ").toLowerCase();
      row.hidden = !told.includes(wanted) || (status !== "" && row.dataset.status !== status);
      shown += !row.hidden;
    }
    document.getElementById("count").textContent = shown === rows.length ? `${shown} cases` : `${shown} of ${rows.length} cases`;
  }

  if (table) {
    heads.forEach((head, n) => head.querySelector("button").addEventListener("click", () => {
      sortBy(n, head.getAttribute("aria-sort") === "ascending");
    }));
    document.getElementById("filter").addEventListener("input", filter);
    document.getElementById("status").addEventListener("change", filter);
    document.getElementById("worst")?.addEventListener("change", (event) => worstFirst(event.target.value));
    document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
  }

  const cases = [...document.querySelectorAll("section.case")];
  let viewer = null;

  async function open(section) {
    for (const other of cases) other.hidden = other !== section;
    document.querySelector("#cases-shown")?.classList.add("open");
    viewer?.close();
    viewer = null;
    const root = section.querySelector(".viewer");
    if (!hasWebGl2() || typeof DecompressionStream === "undefined") {
      section.querySelector(".without").hidden = false;
      return;
    }
    root.hidden = false;
    if (root.dataset.ready) freshCanvas(root);
    viewer = new Viewer(root, JSON.parse(document.getElementById(`case-data-${root.dataset.case}`).textContent));
    document.documentElement.viewer = viewer;
    await viewer.open();
  }

  /* A canvas whose WebGL context was given up draws no more. */
  function freshCanvas(root) {
    delete root.dataset.ready;
    const old = root.querySelector("canvas");
    const canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
    canvas.setAttribute("aria-label", old.getAttribute("aria-label"));
    old.replaceWith(canvas);
  }

  function follow() {
    const section = cases.find((one) => `#${one.id}` === location.hash);
    if (!section) return;
    open(section);
    section.scrollIntoView();
    section.focus({ preventScroll: true });
  }

  /* The case before or after the open one, as the table lists them. */
  function turn(by) {
    const listed = rows.length ? [...body.rows].filter((row) => !row.hidden) : [];
    const links = listed.map((row) => row.querySelector("a")?.getAttribute("href")).filter(Boolean);
    if (!links.length) return;
    location.hash = links[(links.indexOf(location.hash) + by + links.length) % links.length];
  }

  if (cases.length === 1 && !table) open(cases[0]);
  else for (const section of cases) section.hidden = true;
  document.getElementById("previous")?.addEventListener("click", () => turn(-1));
  document.getElementById("next")?.addEventListener("click", () => turn(1));
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", () => { for (const img of document.images) img.loading = "eager"; });
  follow();
})();
