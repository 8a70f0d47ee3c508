document.querySelectorAll("table.sortable thead th").forEach((head, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  if (!head.textContent.trim()) return;
  head.replaceChildren(button);
  let down = false;
  button.addEventListener("click", () => {
    const table = head.closest("table");
    const index = [...head.parentNode.children].indexOf(head);
    const value = (row) => row.children[index].dataset.v ?? row.children[index].textContent;
    const order = (a, b) => value(a).localeCompare(value(b), "en", { numeric: true });
    down = !down;
    const rows = [...table.tBodies[0].rows].sort((a, b) => (down ? order(b, a) : order(a, b)));
    table.tBodies[0].append(...rows);
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  });
});
