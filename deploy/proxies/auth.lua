-- Asks the sidecar whether a request may pass, for haproxy.cfg. It leaves the status in
-- txn.rv_status; without an answer that stays unset, and haproxy.cfg refuses.

-- HAProxy's own listener in front of the sidecar.
local sidecar = "http://127.0.0.1:8001/auth"

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
  local answer = core.httpclient():get({
    url = sidecar,
    timeout = 1000, -- milliseconds; haproxy.cfg gives the sidecar half of it
    headers = {
      ["host"] = { "sidecar" },
      ["authorization"] = credentials,
      -- The request that is asked about, whatever the client says of it.
      ["x-forwarded-method"] = { txn.f:method() },
      ["x-forwarded-host"] = { given["host"][0] },
      ["x-forwarded-uri"] = { txn.f:pathq() },
    },
  })
  if not answer or not answer.headers then return end
  for name, header in pairs(answers) do
    local values = answer.headers[header]
    if values then txn:set_var("txn." .. name, values[0]) end
  end
  txn:set_var("txn.rv_status", answer.status)
end)
