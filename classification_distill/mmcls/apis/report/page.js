'use strict';
// A group's box shows and hides its lines in all figures of its section.
function show(box) {
  const lines = box.closest('section').querySelectorAll(`.curves [id$="-g${box.dataset.group}"]`);
  for (const line of lines) line.style.display = box.checked ? '' : 'none';
}
for (const box of document.querySelectorAll('input[data-group]')) {
  box.addEventListener('change', () => show(box));
  show(box); // a browser may remember what was checked
}
for (const button of document.querySelectorAll('button[data-all]')) {
  button.addEventListener('click', () => {
    for (const box of button.closest('fieldset').querySelectorAll('input[data-group]')) {
      box.checked = button.dataset.all === 'true';
      show(box);
    }
  });
}
