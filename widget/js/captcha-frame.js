/**
 * The page of a captcha, in a frame of its own: scripts of its provider are needed for it, and they are not made for the
 * policy of the chat's page.
 */
const query = new URLSearchParams(location.search);

const SCRIPTS = {
  turnstile: 'https://challenges.cloudflare.com/turnstile/v0/api.js?render=explicit&onload=captchaIsHere',
  hcaptcha: 'https://js.hcaptcha.com/1/api.js?render=explicit&onload=captchaIsHere',
};

/** @param {string | undefined} token */
const tell = (token) => parent.postMessage({ captcha: token ?? null }, location.origin);

const type = query.get('type') === 'hcaptcha' ? 'hcaptcha' : 'turnstile';
const scope = /** @type {any} */ (globalThis);
scope.captchaIsHere = () => scope[type].render(document.getElementById('captcha'), { sitekey: query.get('site_key'), callback: tell, 'error-callback': () => tell(undefined) });

const script = document.createElement('script');
script.src = SCRIPTS[type];
script.addEventListener('error', () => tell(undefined));
document.head.append(script);
