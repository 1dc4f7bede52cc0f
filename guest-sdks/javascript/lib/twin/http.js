import { host, refusal } from './host.js';

export function send(request) {
  host.requests.push(request);
  const answer = host.answers.get(request.url);
  if (answer === undefined) throw refusal('denied', `the test has no answer for ${request.url}`);
  const { status = 200, headers = [], body = '' } = answer;
  return { status, headers, body: typeof body === 'string' ? new TextEncoder().encode(body) : body };
}
