import ExactText

/// A method that clients may call.
public struct Method<Context: Sendable>: Sendable {
  public typealias Handler =
    @Sendable (Params, Context) async throws(JSONRPCError) -> JSON
  /// Appends the result, as JSON, to an answer.
  public typealias Writer =
    @Sendable (Params, Context, inout [UInt8]) async throws(JSONRPCError) -> Void

  /// Begins a result that is too long to be held; what it throws is the answer.
  public typealias Opener = @Sendable (Params, Context) async throws(JSONRPCError) -> Answer.Pieces

  enum Body {
    case makes(Handler)
    case writes(Writer)
    case opens(Opener)
  }

  /// The names of its parameters, in order, as `openrpc.json` has them.
  public let parameters: [String]
  /// These, and the optional ones of ours that are taken by name only, since positions are the contract's.
  private let names: [String]
  /// What to do when the answer is bigger than allowed.
  public let tooBigHint: String
  private(set) var body: Body
  /// Carries out a notification, for which nobody waits; `nil` when it is carried out as a call is.
  private(set) var notification: Handler?

  public init(
    parameters: [String] = [], byName: [String] = [], tooBigHint: String = "ask for less", handler: @escaping Handler
  ) {
    self.parameters = parameters
    names = parameters + byName
    self.tooBigHint = tooBigHint
    body = .makes(handler)
  }

  /// A method whose result may be large: it is written in pieces, and never is as a whole a value.
  public init(
    parameters: [String] = [], byName: [String] = [], tooBigHint: String, writer: @escaping Writer
  ) {
    self.parameters = parameters
    names = parameters + byName
    self.tooBigHint = tooBigHint
    body = .writes(writer)
  }

  /// A method whose result is sent piece by piece while it is made. In a batch it is made as a whole, within the bound for
  /// answers.
  public init(parameters: [String] = [], byName: [String] = [], tooBigHint: String, opener: @escaping Opener) {
    self.parameters = parameters
    names = parameters + byName
    self.tooBigHint = tooBigHint
    body = .opens(opener)
  }

  /// Whether its result, outside of a batch, has no bound.
  var isInPieces: Bool { if case .opens = body { true } else { false } }

  /// The same method, whose notifications are carried out otherwise: where a call waits for something, a notification
  /// must not keep the answers behind it waiting.
  public func notified(by handler: @escaping Handler) -> Method {
    var method = self
    method.notification = handler
    return method
  }

  /// The same method with something done around each of its calls.
  /// - Parameter wrap: gets the call, and makes it once.
  public func around(
    _ wrap:
      @escaping @Sendable (Params, Context, _ call: () async throws(JSONRPCError) -> Void) async throws(JSONRPCError) ->
      Void
  ) -> Method {
    var method = self
    func wrapped(_ handler: @escaping Handler) -> Handler {
      { (params, context) async throws(JSONRPCError) in
        var result = JSON.null
        try await wrap(params, context) { () async throws(JSONRPCError) in
          result = try await handler(params, context)
        }
        return result
      }
    }
    method.notification = notification.map(wrapped)
    switch body {
    case .makes(let handler): method.body = .makes(wrapped(handler))
    case .opens(let opener):
      method.body = .opens { (params, context) async throws(JSONRPCError) in
        var pieces: Answer.Pieces?
        try await wrap(params, context) { () async throws(JSONRPCError) in
          pieces = try await opener(params, context)
        }
        if let pieces { return pieces }
        return { () async throws(JSONRPCError) -> [UInt8]? in nil }
      }
    case .writes(let writer):
      method.body = .writes { (params, context, bytes) async throws(JSONRPCError) in
        try await wrap(params, context) { () async throws(JSONRPCError) in
          try await writer(params, context, &bytes)
        }
      }
    }
    return method
  }

  /// Names the values of a request's `params`: by position, by name, or, for a method whose one parameter is the
  /// object `params`, that object's fields directly.
  ///
  /// Methods with the one parameter `params` get the fields of that object.
  func params(from value: JSON?) throws(JSONRPCError) -> Params {
    let wrapsObject = parameters == ["params"]
    switch value {
    case nil, .null?: return wrapsObject ? Params(JSONObject(), path: "params") : Params(JSONObject())
    case .array(let values)?:
      guard values.count <= parameters.count else {
        throw .invalidParams(
          field: "params",
          expected: parameters.isEmpty
            ? "no values" : "at most \(parameters.count) values (\(parameters.joined(separator: ", ")))")
      }
      let named = JSONObject(members: zip(parameters, values).map { (key: $0, value: $1) })
      if !wrapsObject { return Params(named) }
      return values.isEmpty ? Params(JSONObject(), path: "params") : try Params(named).params("params")
    case .object(let object)?:
      if wrapsObject {
        // `{"params": {…}}`, or the fields themselves.
        return object.count == 1 && object["params"] != nil
          ? try Params(object).params("params") : Params(object, path: "params")
      }
      for key in object.keys where !names.containsExactly(key) {
        throw .invalidParams(
          field: key, expected: names.isEmpty ? "no parameters" : "one of \(names.joined(separator: ", "))")
      }
      return Params(object)
    case let other?: throw .invalidRequest("params must be an array or an object, got \(other.kind)")
    }
  }
}
