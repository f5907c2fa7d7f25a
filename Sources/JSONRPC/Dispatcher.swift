import ExactText

// From the bytes of a request to the bytes of its answer (JSON-RPC 2.0). A single request, the usual case, is handled in
// the caller's task without another allocation than its values and its answer.

/// Knows the methods, and answers requests.
public struct Dispatcher<Context: Sendable>: Sendable {
  /// Called after each request with the method (`nil` when there is no such method) and the error code, if any.
  public typealias Observer = @Sendable (_ method: String?, _ code: Int?) -> Void

  private let methods: [ExactText: Method<Context>]
  private let maximumBatch: Int
  /// Numbers, strings, members … of a request or a batch: fifty for each call of a batch. A job with as many variables as
  /// it may have is far below.
  private var maximumValues: Int { 50 * max(maximumBatch, 1000) }
  private let maximumResponseBytes: Int
  /// Enough to let the store write the steps of several calls at once; few enough that what they read and wait for is
  /// small, and that the loop gets to other work between them.
  private var callsOfBatchAtATime: Int { 16 }
  private let observer: Observer?

  public init(
    methods: [String: Method<Context>], maximumBatch: Int = 1000, maximumResponseBytes: Int = 10 << 20,
    observer: Observer? = nil
  ) {
    self.methods = Dictionary(uniqueKeysWithValues: methods.map { (ExactText($0), $1) })
    self.maximumBatch = maximumBatch
    self.maximumResponseBytes = maximumResponseBytes
    self.observer = observer
  }

  /// Answers a request or a batch.
  /// - Parameter room: what the answer takes is taken from it, and left there for the caller to give back; what else is
  ///   built for it is given back.
  /// - Returns: `nil` when there is nothing to answer: all were notifications.
  public func dispatch(
    _ body: [UInt8], context: Context, room: any AnswerRoom = UnboundedRoom()
  ) async -> [UInt8]? {
    // Looked at before a tree is built of them: an empty object is three bytes here and a hundred there.
    let scan = BatchScan(body)
    if let count = scan.calls, count > maximumBatch {
      return answer(.null, .failure(.batchTooBig(limit: maximumBatch, count: count)), method: nil)
    }
    // Of more values than there may be none is built.
    let tree =
      body.count > Cost.free && scan.values <= maximumValues ? body.count + scan.values * Cost.value : 0
    guard tree == 0 || room.take(tree) else { return answer(.null, .failure(.noRoom), method: nil) }
    defer { if tree > 0 { room.giveBack(tree) } }
    let value: JSON
    do { value = try JSON.parse(body, maximumValues: maximumValues) } catch {
      return answer(.null, .failure(.parseError(error)), method: nil)
    }
    guard case .array(let requests) = value else { return await answer(to: value, context, room) }
    if requests.isEmpty { return answer(.null, .failure(.invalidRequest("the batch is empty")), method: nil) }
    return await answer(toBatch: requests, context, room)
  }

  /// An answer for a body that was refused before it was read.
  public func refusal(_ error: JSONRPCError) -> [UInt8] { answer(.null, .failure(error), method: nil) }

  /// Some requests of a batch run at a time, begun in their order, one more only while there is room; answers come in the
  /// order in which they are ready. None begins when the answers are too big already, or nobody waits for them.
  private func answer(toBatch requests: [JSON], _ context: Context, _ room: any AnswerRoom) async -> [UInt8]? {
    var answers: [UInt8] = []
    var started = 0
    let budget = BatchBudget(bytes: maximumResponseBytes)
    await withTaskGroup(of: [UInt8]?.self) { group in
      var running = 0
      while true {
        while started < requests.count, running < callsOfBatchAtATime, !budget.isSpent, !Task.isCancelled {
          // One runs in any case.
          guard running == 0 || room.take(Cost.call) else { break }
          let request = requests[started]
          group.addTask { await self.answer(to: request, context, room, budget) }
          started += 1
          running += 1
        }
        guard let next = await group.next() else { break }
        running -= 1
        if running > 0 { room.giveBack(Cost.call) }
        guard let answer = next, !budget.isSpent else { continue }
        answers.append(answers.isEmpty ? UInt8(ascii: "[") : UInt8(ascii: ","))
        answers.append(contentsOf: answer)
      }
    }
    if budget.isSpent {
      let error = JSONRPCError.batchResponseTooBig(limit: maximumResponseBytes, started: started)
      return answer(.null, .failure(error), method: nil)
    }
    if answers.isEmpty { return nil }
    answers.append(UInt8(ascii: "]"))
    return answers
  }

  private func answer(
    to request: JSON, _ context: Context, _ room: any AnswerRoom, _ budget: BatchBudget? = nil
  ) async -> [UInt8]? {
    guard case .object(let object) = request else {
      return answer(.null, .failure(.invalidRequest("a request is an object, got \(request.kind)")), method: nil)
    }
    let id = object["id"]
    switch id {
    case nil, .null?, .string?, .int?, .double?: break
    case let other?:
      let error = JSONRPCError.invalidRequest("id must be a string, a number or null, got \(other.kind)")
      return answer(.null, .failure(error), method: nil)
    }
    guard object["jsonrpc"]?.stringValue?.isExactly("2.0") == true else {
      return answer(id ?? .null, .failure(.invalidRequest("jsonrpc must be \"2.0\"")), method: nil)
    }
    guard case .string(let name)? = object["method"] else {
      return answer(id ?? .null, .failure(.invalidRequest("method must be a string")), method: nil)
    }
    switch object["params"] {
    // Null is no structured value, but many clients write it for "none"; nothing else can be meant.
    case nil, .null?, .array?, .object?: break
    case let other?:
      let error = JSONRPCError.invalidRequest("params must be an array or an object, got \(other.kind)")
      return answer(id ?? .null, .failure(error), method: nil)
    }
    guard let method = methods[ExactText(name)] else {
      observer?(nil, -32601)
      return id.map { answer($0, .failure(.methodNotFound(name)), method: nil) }
    }
    do throws(JSONRPCError) {
      let params = try method.params(from: object["params"])
      var bytes: [UInt8]
      switch method.body {
      case .makes(let handler):
        let result = try await handler(params, context)
        // Nobody will read it: the batch is answered by an error.
        bytes = id == nil || budget?.isSpent == true ? [] : answer(id ?? .null, .success(result), method: method)
      case .writes(let writer):
        bytes = Self.beginning(id ?? .null)
        try await writer(params, context, &bytes)
        bytes.append(UInt8(ascii: "}"))
        try checkSize(bytes, method)
      }
      let isFree = (budget?.spent ?? 0) + bytes.count <= Cost.free
      if id != nil, !isFree, !room.take(bytes.count) { throw JSONRPCError.noRoom }
      observer?(name, nil)
      guard id != nil else { return nil }
      budget?.spend(bytes.count + 1)
      return bytes
    } catch {
      observer?(name, error.code)
      guard let id else { return nil }
      let bytes = answer(id, .failure(error), method: method)
      budget?.spend(bytes.count + 1)
      return bytes
    }
  }

  private func checkSize(_ bytes: [UInt8], _ method: Method<Context>) throws(JSONRPCError) {
    guard bytes.count > maximumResponseBytes else { return }
    throw .responseTooBig(limit: maximumResponseBytes, hint: method.tooBigHint)
  }

  /// An answer up to its result.
  private static func beginning(_ id: JSON) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(256)
    bytes.append(contentsOf: #"{"jsonrpc":"2.0","id":"#.utf8)
    id.write(into: &bytes)
    bytes.append(contentsOf: #","result":"#.utf8)
    return bytes
  }

  private func answer(_ id: JSON, _ result: Result<JSON, JSONRPCError>, method: Method<Context>?) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(256)
    bytes.append(contentsOf: #"{"jsonrpc":"2.0","id":"#.utf8)
    id.write(into: &bytes)
    switch result {
    case .success(let value):
      bytes.append(contentsOf: #","result":"#.utf8)
      value.write(into: &bytes)
    case .failure(let error):
      bytes.append(contentsOf: #","error":"#.utf8)
      error.json.write(into: &bytes)
    }
    bytes.append(UInt8(ascii: "}"))
    if bytes.count > maximumResponseBytes, case .success = result {
      let hint = method?.tooBigHint ?? "ask for less"
      return answer(id, .failure(.responseTooBig(limit: maximumResponseBytes, hint: hint)), method: method)
    }
    return bytes
  }
}
