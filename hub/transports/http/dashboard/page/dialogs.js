// Dialogs with forms: a form in a modal <dialog> that shows errors next to their fields.

import { h, setAttribute, setText } from "./dom.js";

let serial = 0;

/**
 * A field with its label, hint and error. `control` is an input, select or textarea;
 * `name` is the request field whose violations it shows.
 */
export function field(name, label, control, hint = "") {
  const id = `field-${(serial += 1)}`;
  const error = h("p", { class: "field-error", id: `${id}-error`, role: "alert" });
  control.id = id;
  control.name = name;
  setAttribute(control, "aria-describedby", `${id}-hint ${id}-error`);
  const element = h("div", { class: "field" },
    h("label", { for: id, text: label }), control,
    h("p", { class: "field-hint", id: `${id}-hint`, text: hint }), error);
  return {
    name, control, element,
    fail(text) {
      setText(error, text);
      setAttribute(control, "aria-invalid", text ? "true" : null);
    },
  };
}

/**
 * Opens a dialog with a form. `submit()` does the work; if it throws, the dialog shows the
 * error and stays open. With `isLaidOut`, the body already contains the fields. Resolves to
 * true if `submit()` succeeded, and to false if the dialog was cancelled.
 */
export function ask({ title, body = [], fields = [], isLaidOut = false, confirm, danger = false, submit }) {
  const general = h("p", { class: "field-error", role: "alert" });
  const cancel = h("button", { type: "button", text: "Cancel" });
  const ok = h("button", { type: "submit", class: danger ? "danger" : "primary", text: confirm });
  const heading = `dialog-${(serial += 1)}`;
  const form = h("form", { method: "dialog", noValidate: true },
    h("h2", { id: heading, text: title }), ...body, ...(isLaidOut ? [] : fields.map((each) => each.element)), general,
    h("div", { class: "dialog-buttons" }, cancel, ok));
  const dialog = h("dialog", { class: "ask", "aria-labelledby": heading }, form);
  if (danger) dialog.setAttribute("role", "alertdialog");
  document.body.append(dialog);
  let isDone = false;
  cancel.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (ok.disabled) return;
    for (const each of fields) each.fail("");
    setText(general, "");
    ok.disabled = true;
    try {
      await submit();
      isDone = true;
      dialog.close();
    } catch (error) {
      showErrors(error, fields, general);
    } finally {
      ok.disabled = false;
    }
  });
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(isDone);
    });
    dialog.showModal();
    // An action that cannot be undone is not the default.
    (danger ? cancel : fields[0]?.control ?? ok).focus();
  });
}

function showErrors(error, fields, general) {
  const rest = [];
  let first = null;
  for (const violation of error.errors ?? []) {
    const owner = fields.find(({ name }) => violation.field === name || violation.field.startsWith(`${name}[`));
    if (owner) {
      owner.fail(`${violation.field.slice(owner.name.length)} ${violation.detail}`.trim());
      first ??= owner.control;
    } else rest.push(`${violation.field}: ${violation.detail}`);
  }
  if (!error.errors?.length) rest.push(error.message);
  setText(general, rest.join("; "));
  if (first) {
    const closed = first.closest("details:not([open])");
    if (closed) closed.open = true;
    first.focus();
  }
}

const toasts = document.getElementById("toasts");
const TOAST_MS = 7000;

/** Shows a message for a few seconds; `action` is `{label, run}`. */
export function toast(text, { isError = false, action = null } = {}) {
  const element = h("div", { class: isError ? "toast is-error" : "toast" }, h("p", { text }));
  const remove = () => element.remove();
  if (action) {
    element.append(h("button", {
      type: "button", class: "small", text: action.label,
      on: { click: () => { remove(); action.run(); } },
    }));
  }
  element.append(h("button", { type: "button", class: "small", text: "Close", on: { click: remove } }));
  // At most three, so that messages do not cover the page.
  while (toasts.children.length >= 3) toasts.firstElementChild.remove();
  toasts.append(element);
  let timer = setTimeout(remove, TOAST_MS);
  // A message with the pointer or the focus in it stays.
  for (const event of ["mouseenter", "focusin"]) element.addEventListener(event, () => clearTimeout(timer));
  for (const event of ["mouseleave", "focusout"]) {
    element.addEventListener(event, () => { clearTimeout(timer); timer = setTimeout(remove, TOAST_MS); });
  }
}

/** A line of text with a button that copies it. */
export function pasteLine(text) {
  const button = h("button", { type: "button", class: "small", text: "Copy" });
  const code = h("code", { text });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      setText(button, "Copied");
    } catch {
      // Without TLS the clipboard is not available: select the text for Ctrl-C.
      getSelection().selectAllChildren(code);
      setText(button, "Selected");
    }
  });
  return h("div", { class: "paste" }, h("pre", {}, code), button);
}

