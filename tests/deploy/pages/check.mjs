// Looks at the pages of running registries with a real Chromium.
//
//   node check.mjs OPEN PASSWORDS TOKENS SCREENSHOTS
//
// OPEN, PASSWORDS and TOKENS are the addresses of a registry without logins, one with passwords (and
// anonymous pulls below public/) and one with a token server. Screenshots go to that folder.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const require = createRequire(join(process.env.NODE_FOLDER, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core"), "utf8");
const { HOSTILE, Registry, manyTags, seed } = await import("./seed.mjs");

const [open, passwords, tokens, screenshots] = process.argv.slice(2);
const MANY = 100_000;
const PAGE_BYTES_MAX = 60 * 1024;
mkdirSync(screenshots, { recursive: true });
let passed = 0;
let failed = 0;

async function check(what, test) {
  try {
    await test();
    passed += 1;
    console.log(`ok pages: ${what}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED pages: ${what}: ${error.message}`);
  }
}

function same(actual, expected, what = "value") {
  const [one, other] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${what} is ${one}, not ${other}`);
}

function holds(condition, what) {
  if (!condition) throw new Error(what);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

// A page of a new context, with what it asked for and what went wrong in it.
async function visit(base, path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.asked = [];
  page.bytes = 0;
  page.wrong = [];
  page.on("request", (request) => page.asked.push(request.url()));
  page.on("response", async (response) => {
    const sizes = await response.request().sizes().catch(() => ({ responseBodySize: 0, responseHeadersSize: 0 }));
    page.bytes += sizes.responseBodySize + sizes.responseHeadersSize;
  });
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") page.wrong.push(message.text());
  });
  page.on("dialog", (dialog) => { page.wrong.push("a dialog"); dialog.dismiss(); });
  page.answer = await page.goto(`http://${base}${path}`, { waitUntil: "networkidle" });
  return page;
}

async function rows(page) {
  return page.locator("tbody tr").evaluateAll((all) =>
    all.map((row) => [...row.cells].map((cell) => cell.innerText.trim())));
}

const text = (page) => page.locator("main").innerText();

const registry = new Registry(`http://${open}`);
const digests = await seed(registry);
await new Registry(`http://${passwords}`, `Basic ${Buffer.from(process.env.LOGIN).toString("base64")}`)
  .image("secret/app", ["v1"]);
await new Registry(`http://${passwords}`, `Basic ${Buffer.from(process.env.LOGIN).toString("base64")}`)
  .image("public/app", ["v1"]);

await check("the root leads a browser to the repositories", async () => {
  const page = await visit(open, "/");
  same(new URL(page.url()).pathname, "/ui/");
  same(await page.locator(".names a").allInnerTexts(), ["charts/web", "demo/app", "demo/multi", "hostile/app"]);
});
await check("a search shows the repositories whose names begin so", async () => {
  const page = await visit(open, "/ui/");
  await page.fill("#q", "demo/m");
  await page.press("#q", "Enter");
  await page.waitForURL("**/ui/?q=demo/m", { timeout: 5_000 }).catch(() => page.waitForURL("**q=demo%2Fm"));
  same(await page.locator(".names a").allInnerTexts(), ["demo/multi"]);
});
await check("tags are shown with kind, size, time and digest", async () => {
  const page = await visit(open, "/ui/repository/demo/app");
  const shown = await rows(page);
  same(shown.map((row) => row.slice(0, 4)), [
    ["1.10.0", "image", "", "58.1 KiB"], ["1.9.0", "image", "", "9.3 KiB"], ["latest", "image", "", "58.1 KiB"],
  ]);
  same(shown[0].slice(4, 7), ["just now", "anonymous", "0"]);
  holds(/^sha256:[0-9a-f]{12}$/.test(shown[0][7]), `a digest is ${shown[0][7]}`);
});
await check("tags can be ordered by version, time and size", async () => {
  const of = async (order) => (await rows(await visit(open, `/ui/repository/demo/app?sort=${order}`))).map((row) => row[0]);
  const version = await of("version");
  holds(version.indexOf("1.10.0") < version.indexOf("1.9.0"), `by version: ${version}`);
  const largest = await of("largest");
  same(largest.at(-1), "1.9.0", "the smallest");
  const newest = await of("newest");
  same(newest.at(-1), "1.9.0", "the oldest");
});
await check("an index is shown with its platforms and their sizes", async () => {
  const page = await visit(open, "/ui/manifest/demo/multi/2.0");
  const shown = (await rows(page)).map((row) => row.slice(0, 3));
  same(shown, [["linux/amd64", "image", "58.1 KiB"], ["linux/arm64/v8", "image", "58.1 KiB"], ["–", "attestation", "43 B"]]);
  const listed = await rows(await visit(open, "/ui/repository/demo/multi"));
  const tag = listed.find((row) => row[0] === "2.0");
  same(tag.slice(1, 3), ["index", "linux/amd64, linux/arm64/v8"]);
  same(tag[6], "1", "referrers");
});
await check("referrers are shown as a tree, with the tags of cosign", async () => {
  const page = await visit(open, `/ui/manifest/demo/multi/${digests.index}`);
  const tree = await page.locator(".tree li").evaluateAll((all) => all.map((line) => [line.className, line.innerText.split(" ")[0]]));
  same(tree, [["depth0", "SBOM"], ["depth1", "signature"], ["depth0", "signature"]]);
});
await check("an image is shown with layers, config and build history", async () => {
  const page = await visit(open, "/ui/manifest/demo/app/latest");
  const shown = await text(page);
  for (const part of ["/usr/bin/server", "65532:65532", "8080/tcp", "MODE=production", "Apache-2.0", "make install",
    "https://code.example/app", "linux/amd64", "84 %", "15 %"]) holds(shown.includes(part), `no ${part}`);
  holds(!shown.includes('"schemaVersion"'), "the JSON is not folded");
  await page.locator("summary").click();
  holds((await text(page)).includes('"schemaVersion": 2'), "no JSON");
  same(await page.locator("tbody .number span").first().getAttribute("title"), "521 bytes");
});
await check("commands name the registry, the tag and the digest", async () => {
  const of = async (path) => (await visit(open, path)).locator(".commands code").allInnerTexts();
  const image = await of("/ui/manifest/demo/app/latest");
  holds(image.includes(`docker pull ${open}/demo/app:latest`) && image.includes(`podman pull ${open}/demo/app:latest`), `${image}`);
  const digest = await of(`/ui/manifest/demo/app/${digests.plain}`);
  holds(digest.includes(`docker pull ${open}/demo/app@${digests.plain}`), `${digest}`);
  holds(digest.includes(`cosign verify --key cosign.pub ${open}/demo/app@${digests.plain}`), `${digest}`);
  const chart = await of("/ui/manifest/charts/web/1.2.3_build.4");
  holds(chart.includes(`helm pull oci://${open}/charts/web --version 1.2.3+build.4`), `${chart}`);
});
await check("a chart is shown with its Chart.yaml", async () => {
  const shown = await text(await visit(open, "/ui/manifest/charts/web/1.2.3_build.4"));
  for (const part of ["Chart.yaml", "A web server", "1.2.3+build.4", "chart"]) holds(shown.includes(part), `no ${part}`);
});
await check("manifests without a tag are listed", async () => {
  const shown = await rows(await visit(open, "/ui/untagged/demo/multi"));
  same(shown.map((row) => row[1]).sort(), ["SBOM", "attestation", "image", "image", "signature"]);
  same((await rows(await visit(open, "/ui/untagged/demo/app"))).length, 0);
});
await check("hostile names and annotations are text", async () => {
  const page = await visit(open, "/ui/manifest/hostile/app/v1");
  const shown = await text(page);
  same(shown.split(HOSTILE).length - 1 >= 4, true, "label, its value, annotation, its value, command");
  same(await page.evaluate(() => window.hacked), undefined);
  same(page.wrong, []);
  for (const path of ["/ui/?q=", "/ui/repository/demo/app?q=", "/ui/repository/demo/app?sort=", "/ui/go?name="]) {
    const other = await visit(open, path + encodeURIComponent(HOSTILE));
    same(await other.evaluate(() => window.hacked), undefined, path);
    holds(!(await other.content()).includes("<script>window"), path);
  }
});
await check("nothing is loaded from elsewhere, and nothing is refused", async () => {
  for (const path of ["/ui/", "/ui/repository/demo/app", "/ui/manifest/demo/multi/2.0"]) {
    const page = await visit(open, path);
    same(page.asked.filter((url) => new URL(url).host !== open), []);
    same(page.wrong, []);
    const policy = page.answer.headers()["content-security-policy"];
    holds(policy.includes("default-src 'none'") && !policy.includes("unsafe"), policy);
  }
});
await check("every page works without a script", async () => {
  const page = await visit(open, "/ui/repository/demo/app", { javaScriptEnabled: false });
  await page.selectOption("#sort", "version");
  await page.click("form button");
  same((await page.locator("tbody th").allInnerTexts()).length, 3);
  await page.click("tbody th a");
  same(await page.locator("button.copy:visible").count(), 0);
  await page.locator("summary").click();
  holds((await page.locator("pre").last().innerText()).includes("schemaVersion"), "no JSON");
});
await check("a command can be copied", async () => {
  const page = await visit(open, "/ui/manifest/demo/app/latest", { permissions: ["clipboard-read", "clipboard-write"] });
  await page.locator("button.copy").first().click();
  same(await page.evaluate(() => navigator.clipboard.readText()), `docker pull ${open}/demo/app:latest`);
});
await check("the keyboard reaches the content first, then everything", async () => {
  const page = await visit(open, "/ui/repository/demo/app");
  await page.keyboard.press("Tab");
  same(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  const reached = new Set();
  for (let press = 0; press < 30; press += 1) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim()));
  }
  for (const target of ["q", "sort", "1.10.0", "latest"]) holds(reached.has(target), `${target} is not reached`);
});

const PAGES = ["/ui/", "/ui/?q=none", "/ui/repository/demo/app", "/ui/repository/demo/multi", "/ui/untagged/demo/multi",
  "/ui/manifest/demo/multi/2.0", "/ui/manifest/demo/app/latest", "/ui/manifest/charts/web/1.2.3_build.4",
  "/ui/manifest/hostile/app/v1", "/ui/repository/not/there"];
for (const colorScheme of ["light", "dark"]) {
  await check(`no page has a fault of accessibility (axe), ${colorScheme}`, async () => {
    for (const path of PAGES) {
      const page = await visit(open, path, { colorScheme, bypassCSP: true });
      await page.evaluate(axe);
      const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      holds(found.passes.length > 5, `${path}: axe checked nothing`);
      same(found.violations.map((one) => `${path}: ${one.id} ${one.nodes[0].html}`), []);
      await page.context().close();
    }
  });
}
await check("a phone and a print of 80 columns need no scrolling sideways", async () => {
  for (const path of PAGES) {
    for (const [width, media] of [[360, "screen"], [640, "print"]]) {
      const page = await visit(open, path, { viewport: { width, height: 800 } });
      await page.emulateMedia({ media });
      const wide = await page.evaluate(() => document.scrollingElement.scrollWidth);
      holds(wide <= width, `${path} is ${wide} wide on ${width}, ${media}`);
      await page.context().close();
    }
  }
});
await check("what is not there is a page that says so", async () => {
  for (const [path, status] of [["/ui/repository/not/there", 404], ["/ui/manifest/demo/app/none", 404], ["/ui/nothing", 404],
    ["/ui/repository/Not%20A%20Name", 400]]) {
    const page = await visit(open, path);
    same(page.answer.status(), status, path);
    holds((await page.locator("h1").innerText()).length > 5, path);
    same(page.answer.headers()["content-type"], "text/html; charset=utf-8", path);
  }
});

const [user, password] = [process.env.LOGIN.split(":")[0], process.env.LOGIN.slice(process.env.LOGIN.indexOf(":") + 1)];
await check("without rights a page says so, and offers what is public", async () => {
  // Chromium shows the text of a 401 only after its dialog, which nothing can close here.
  const refused = await fetch(`http://${passwords}/ui/`);
  same([refused.status, refused.headers.get("www-authenticate")], [401, 'Basic realm="Longshore"']);
  holds((await refused.text()).includes('action="/ui/go"'), "no way to a repository that is public");
  same((await fetch(`http://${passwords}/ui/repository/secret/app`)).status, 401);
  const page = await visit(passwords, "/ui/go?name=public/app");
  same(new URL(page.url()).pathname, "/ui/repository/public/app");
  same(await page.locator("tbody th").allInnerTexts(), ["v1"]);
  same(await page.locator("header a[href='/ui/login']").innerText(), "log in");
  const forbidden = await visit(tokens, "/ui/repository/secret/app");
  same(forbidden.answer.status(), 401);
});
await check("the login of the browser is used", async () => {
  const httpCredentials = { username: user, password };
  const page = await visit(passwords, "/ui/login", { httpCredentials });
  same(new URL(page.url()).pathname, "/ui/");
  holds((await page.locator("header").innerText()).includes(`Logged in as ${user}`), "not logged in");
  same(await page.locator(".names a").allInnerTexts(), ["public/app", "secret/app"]);
  const wrong = await visit(passwords, "/ui/login", { httpCredentials: { username: user, password: "wrong" } });
  same(wrong.answer.status(), 401);
});
await check("with a token server a page says what it can show", async () => {
  const page = await visit(tokens, "/ui/");
  same(page.answer.status(), 401);
  holds((await text(page)).includes("token server"), await text(page));
});

await manyTags(registry, MANY);
await check(`a repository with ${MANY} tags is shown in pages`, async () => {
  const page = await visit(open, "/ui/repository/many/tags");
  same((await rows(page)).length, 50);
  await page.click("a[rel=next]");
  same((await page.locator("tbody th").allInnerTexts())[0], "build-000050");
  holds(page.bytes < 2 * PAGE_BYTES_MAX, `two pages have ${page.bytes} bytes`);
});
await check("an order that would need too many tags is not taken, and the page says so", async () => {
  const page = await visit(open, "/ui/repository/many/tags?sort=newest");
  holds((await text(page)).includes("More than 10000 tags match"), await text(page));
  const fewer = await visit(open, "/ui/repository/many/tags?sort=version&q=build-0000");
  same((await fewer.locator("tbody th").allInnerTexts())[0], "build-000099");
  holds(!(await text(fewer)).includes("More than"), "it was sorted");
});
await check(`no page weighs more than ${PAGE_BYTES_MAX} bytes`, async () => {
  for (const path of [...PAGES, "/ui/repository/many/tags"]) {
    const page = await visit(open, path);
    console.log(`   ${path}: ${page.bytes} bytes`);
    holds(page.bytes > 1_000 && page.bytes <= PAGE_BYTES_MAX, `${path} has ${page.bytes} bytes`);
  }
});
// Not judged: a time says something about a machine.
const begun = performance.now();
await (await fetch(`http://${open}/ui/repository/many/tags`)).text();
console.log(`   the first page of ${MANY} tags, hot: ${(performance.now() - begun).toFixed(1)} ms`);

for (const [name, path, options] of [
  ["tags", "/ui/repository/demo/multi", {}], ["image", "/ui/manifest/demo/app/latest", { colorScheme: "dark" }],
]) {
  const page = await visit(open, path, { viewport: { width: 1000, height: 640 }, ...options });
  await page.screenshot({ path: join(screenshots, `${name}.png`) });
}
await browser.close();
console.log(`pages: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
