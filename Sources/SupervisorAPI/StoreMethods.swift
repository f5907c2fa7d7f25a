import JSONRPC

// Methods about the store of the node that is asked.

extension SupervisorAPI {
  var storeMethods: [String: Method<APICall>] {
    [
      "store.confirm_clock": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        _ = try authenticator.require([.admin], secret: try params.optionalString("secret"), call)
        try params.refuseOthers(than: ["secret"])
        return ["confirmed_seconds": .int(await confirmClock() / 1000)]
      }
    ]
  }
}
