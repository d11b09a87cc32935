-- Asks the sidecar whether a request may pass, for haproxy.cfg. It leaves the status in
-- txn.rv_status; without an answer that stays unset, and haproxy.cfg refuses.

-- A Unix socket is asked with dst = "unix@/run/revocast/auth.sock" below.
local sidecar = "http://127.0.0.1:9470/auth"
-- For one attempt, in milliseconds; longer than the sidecar takes for any answer
-- (--answer-within), so this is only for one that is stuck. HAProxy makes four attempts.
local within = 500

local answers = {
  rv_challenge = "www-authenticate", rv_retry = "retry-after", rv_fresh = "x-revocast-fresh-as-of",
  rv_subject = "x-auth-subject", rv_session = "x-auth-session", rv_client = "x-auth-client",
  rv_scope = "x-auth-scope", rv_roles = "x-auth-roles", rv_expires = "x-auth-expires",
}

core.register_action("revocast", { "http-req" }, function(txn)
  local given = txn.http:req_get_headers()
  -- Every Authorization that the application would see: of two, the sidecar must know.
  local credentials = {}
  if given["authorization"] then
    for i = 0, #given["authorization"] do
      credentials[i + 1] = given["authorization"][i]
    end
  end
  local host = given["host"] and given["host"][0] or ""
  local answer = core.httpclient():get({
    url = sidecar,
    timeout = within,
    headers = {
      ["host"] = { "sidecar" },
      ["authorization"] = credentials,
      ["x-forwarded-method"] = { txn.f:method() },
      ["x-forwarded-host"] = { host },
      ["x-forwarded-uri"] = { txn.f:pathq() },
    },
  })
  if not answer then return end
  for name, header in pairs(answers) do
    local values = answer.headers and answer.headers[header]
    txn:set_var("txn." .. name, values and values[0] or "")
  end
  txn:set_var("txn.rv_status", answer.status)
end)
