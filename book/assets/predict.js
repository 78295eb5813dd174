// Predict first: reads the integer in the box below a question and says whose it is.
//
// The page has the answers, computed by its own cells (page.py, predict): <data class="right"> is the right one, each
// other <data> an arithmetic's, named in the text behind it. Nothing is computed here.
"use strict";

for (const question of document.querySelectorAll(".ql-predict")) {
  const [form, says] = [question.querySelector("form"), question.querySelector("output")];
  const answers = [...question.querySelectorAll("data")];
  const right = answers.find((answer) => answer.className === "right");

  const said = (typed) => {
    const value = typed.replace(/[−–]/g, "-").replace(/[\s,]/g, "");
    if (!/^[-+]?\d+$/.test(value)) return ["unclear", `An integer, please, such as ${Number(right.value) > 99 ? 100 : 10}.`];
    const answer = answers.find((each) => Number(each.value) === Number(value));
    if (answer === right) return ["right", `Right: ${right.parentElement.innerHTML}`];
    if (answer) return ["wrong", `No. ${answer.parentElement.innerHTML}`];
    return ["wrong", `No, and none of the arithmetics named here gives ${Number(value)}.`];
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    [says.className, says.innerHTML] = said(form.elements.integer.value);
  });
  form.hidden = false;
}
