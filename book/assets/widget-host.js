// Brings the widgets of a static page to life: no kernel, no network, http or file.
//
// The page holds each widget's state as JSON. This script gives a widget what JupyterLab would give it: a model with
// get / set / on / off / save_changes / send, and an element to draw in. What only a kernel can answer stays unanswered.
// A classic script, not a module: browsers refuse to load modules from file:.
(() => {
  "use strict";

  const bytes = (base64) => new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);

  // The state of one widget, its binary traits put back where they were taken out.
  function stateOf({ state, buffers = [] }) {
    for (const { path, data } of buffers) {
      const parent = path.slice(0, -1).reduce((node, key) => node[key], state);
      parent[path.at(-1)] = bytes(data);
    }
    return state;
  }

  function modelOf(state) {
    const listeners = new Map();
    const tell = (event, ...details) => [...(listeners.get(event) ?? [])].forEach((listen) => listen(...details));
    const model = {
      get: (name) => state[name],
      set(name, value) {
        if (typeof name === "object") return Object.entries(name).forEach(([key, each]) => model.set(key, each));
        if (state[name] === value) return;
        state[name] = value;
        tell(`change:${name}`, model, value);
        tell("change", model);
      },
      on(event, listen) {
        if (!listeners.has(event)) listeners.set(event, new Set());
        listeners.get(event).add(listen);
      },
      off(event, listen) {
        if (event === undefined) listeners.clear();
        else if (listen === undefined) listeners.delete(event);
        else listeners.get(event)?.delete(listen);
      },
      save_changes() {},
      send() {},
    };
    return model;
  }

  const modules = new Map(); // the source of a module -> the promise of it
  function moduleOf(source) {
    if (!modules.has(source)) {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules.set(source, import(url).finally(() => URL.revokeObjectURL(url)));
    }
    return modules.get(source);
  }

  const styles = new Set();
  function addStyle(text) {
    if (!text || styles.has(text)) return;
    styles.add(text);
    document.head.append(Object.assign(document.createElement("style"), { textContent: text }));
  }

  async function bring(view, states) {
    const id = JSON.parse(view.textContent).model_id;
    const state = stateOf(states[id]);
    const el = document.createElement("div");
    view.after(el);
    addStyle(state._css);
    const module = (await moduleOf(state._esm)).default;
    const widget = typeof module === "function" ? await module() : module;
    const model = modelOf(state);
    await widget.initialize?.({ model });
    await widget.render({ model, el });
    el.dataset.widget = "alive";
  }

  async function start() {
    const states = {};
    for (const script of document.querySelectorAll('script[type="application/vnd.jupyter.widget-state+json"]')) {
      Object.assign(states, JSON.parse(script.textContent).state);
    }
    const views = document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]');
    await Promise.all([...views].map((view) => bring(view, states)));
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
