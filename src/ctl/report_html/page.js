'use strict';
// Without this the table shows its first rows in the order of contacts; with it, all that the page holds can be
// sorted, searched and paged through. Rows are made as they are shown, and always as text, never as markup.
(() => {
  const element = (id) => document.getElementById(id);
  const table = element('responses');
  const body = table.tBodies[0];
  const held = element('rows');
  const rows = JSON.parse(held.textContent);
  if (rows.length === 0) return;
  held.textContent = '';

  const heads = Array.from(table.tHead.rows[0].cells);
  const labels = heads.map((head) => head.textContent);
  // A row is: a cell for each head, then the words of the reply.
  const SAID = heads.findIndex((head) => head.className === 'said');
  const AT = heads.findIndex((head) => head.className === 'at');
  const REPLY = heads.length;
  const number = new Intl.NumberFormat('en');
  const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

  let order = rows.map((_, place) => place);
  let found = order;
  let haystack = null;
  let sorted = { column: -1, down: false };
  let first = 0;

  const made = (name, text) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const line = (row) => {
    const shown = made('tr');
    shown.setAttribute('role', 'row');
    heads.forEach((head, column) => {
      const cell = made(column === 0 ? 'th' : 'td');
      cell.setAttribute('role', column === 0 ? 'rowheader' : 'cell');
      if (column === 0) cell.scope = 'row';
      else {
        cell.dataset.label = labels[column];
        if (head.className) cell.className = head.className;
      }
      if (column === SAID) {
        if (row[SAID] || row[REPLY]) cell.append(said(row));
      } else if (column === AT) cell.textContent = row[AT].slice(0, 16);
      else cell.textContent = row[column];
      shown.append(cell);
    });
    return shown;
  };

  const said = (row) => {
    const both = made('div', row[SAID]);
    if (row[REPLY]) {
      const reply = made('details');
      reply.className = 'reply';
      reply.append(made('summary', row[REPLY]));
      both.append(reply);
    }
    return both;
  };

  const show = () => {
    const size = Number(element('size').value);
    const last = Math.max(0, Math.floor((found.length - 1) / size)) * size;
    first = Math.min(Math.max(first, 0), last);
    const end = Math.min(first + size, found.length);
    body.replaceChildren(...found.slice(first, end).map((place) => line(rows[place])));
    const of = found.length === rows.length ? '' : ` found among ${number.format(rows.length)}`;
    element('status').textContent = found.length === 0
      ? `No row${of}`
      : `Rows ${number.format(first + 1)} to ${number.format(end)} of ${number.format(found.length)}${of}`;
    for (const [id, out] of [['first', first === 0], ['back', first === 0], ['on', first >= last], ['last', first >= last]]) {
      element(id).setAttribute('aria-disabled', String(out));
    }
    element('pager').hidden = found.length <= size;
    element('static').hidden = true;
  };

  const search = () => {
    const words = element('search').value.toLowerCase().split(/\s+/).filter(Boolean);
    haystack ??= rows.map((row) => row.join('\n').toLowerCase());
    found = words.length === 0 ? order : order.filter((place) => words.every((word) => haystack[place].includes(word)));
    first = 0;
    show();
  };

  const sort = (column, down) => {
    sorted = { column, down };
    const sign = down ? -1 : 1;
    const compare = column === AT ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : collator.compare;
    order = rows.map((_, place) => place).sort((a, b) => {
      const [left, right] = [rows[a][column], rows[b][column]];
      // What is empty stands last, whichever the direction.
      if (left === '' || right === '') return (left === '') - (right === '') || a - b;
      return sign * compare(left, right) || a - b;
    });
    heads.forEach((head, place) => {
      if (place === column) head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    element('by').value = String(column);
    element('turn').textContent = down ? 'Descending' : 'Ascending';
    search();
  };

  heads.forEach((head, column) => {
    const button = made('button', labels[column]);
    button.type = 'button';
    button.addEventListener('click', () => sort(column, sorted.column === column && !sorted.down));
    head.replaceChildren(button);
    const option = made('option', labels[column]);
    option.value = String(column);
    element('by').append(option);
  });
  element('by').addEventListener('change', (event) => sort(Number(event.target.value), sorted.down));
  element('turn').addEventListener('click', () => sort(Math.max(sorted.column, 0), !sorted.down));
  element('size').addEventListener('change', () => show());
  let waiting = 0;
  element('search').addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 120);
  });
  const go = (id, to) => element(id).addEventListener('click', (event) => {
    if (event.currentTarget.getAttribute('aria-disabled') === 'true') return;
    first = to(Number(element('size').value));
    show();
    table.scrollIntoView();
  });
  go('first', () => 0);
  go('back', (size) => first - size);
  go('on', (size) => first + size);
  go('last', () => found.length);

  element('controls').hidden = false;
  show();
})();
