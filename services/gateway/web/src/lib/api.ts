import type { Kill, Session } from "./types";

const BASE = "/api/v1";

export interface FieldError {
  field: string;
  value?: unknown;
  advice?: string;
}

/** A refusal of the gateway, or none at all: `status` 0 means that no answer came. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly errors: FieldError[] = [],
  ) {
    super(detail);
  }

  /** What went wrong and what to do about it. */
  get text(): string {
    const advice = this.errors.map((error) => `${error.field}: ${error.advice ?? "not accepted"}`);
    return [this.detail, ...advice].join(" · ");
  }
}

export function problemText(error: unknown): string {
  return error instanceof Problem ? error.text : String(error);
}

type Method = "GET" | "POST";

export class Api {
  csrf = "";
  onSignedOut: () => void = () => undefined;

  constructor(private readonly send: typeof fetch = (...request) => fetch(...request)) {}

  async request<T>(method: Method, path: string, body?: unknown, keepalive = false): Promise<T> {
    const headers: Record<string, string> = { Accept: "application/json" };
    if (method !== "GET") {
      headers["Content-Type"] = "application/json";
      headers["X-CSRF-Token"] = this.csrf;
    }
    let response: Response;
    try {
      response = await this.send(BASE + path, {
        method,
        headers,
        credentials: "same-origin",
        cache: "no-store",
        keepalive,
        body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
      });
    } catch {
      throw new Problem(0, "The gateway does not answer");
    }
    const answer: unknown = await response.json().catch(() => null);
    if (response.ok) return answer as T;
    if (response.status === 401 && !path.startsWith("/auth/")) this.onSignedOut();
    throw toProblem(response.status, answer);
  }

  async login(username: string, password: string): Promise<Session> {
    return this.signedIn(await this.request<Session>("POST", "/auth/login", { username, password }));
  }

  async me(): Promise<Session> {
    return this.signedIn(await this.request<Session>("GET", "/auth/me"));
  }

  logout(): Promise<void> {
    return this.request("POST", "/auth/logout");
  }

  kill(why: string): Promise<{ command_id: string; revision: number }> {
    const body = { scope: "all", scope_value: "", mode: "cancel_working", why };
    return this.request("POST", "/control/kill", body, true);
  }

  killed(commandId: string): Promise<Kill> {
    return this.request("GET", `/control/kill/${encodeURIComponent(commandId)}`);
  }

  resume(scope: string, scopeValue: string, reason: string): Promise<void> {
    return this.request("POST", "/control/resume", { scope, scope_value: scopeValue, reason });
  }

  arm(account: string, on: boolean, reason: string): Promise<void> {
    return this.request("POST", on ? "/control/arm" : "/control/disarm", { account_number: account, reason });
  }

  cancelOrder(intentId: string, reason: string): Promise<void> {
    return this.request("POST", `/orders/${encodeURIComponent(intentId)}/cancel`, { reason });
  }

  propose(account: string, candidateId: string, quantity: number): Promise<{ proposal_id: string }> {
    return this.request("POST", "/proposals", { account_number: account, candidate_id: candidateId, quantity });
  }

  private signedIn(session: Session): Session {
    this.csrf = session.csrf_token;
    return session;
  }
}

function toProblem(status: number, answer: unknown): Problem {
  const body = (answer && typeof answer === "object" ? answer : {}) as Record<string, unknown>;
  const text = [body.detail, body.title].find((each): each is string => typeof each === "string" && each !== "");
  const errors = Array.isArray(body.errors) ? (body.errors as FieldError[]) : [];
  return new Problem(status, text ?? `The gateway answered ${status}`, errors);
}
