// What a node answered over HTTP, read as JSON-RPC 2.0.
import JSONRPC

enum RPCAnswer {
  static func json(_ answer: HTTPAnswer, from endpoint: Endpoint) throws(ClientError) -> JSON {
    do {
      return try JSON.parse(answer.body)
    } catch {
      guard answer.status == 200 else { throw status(answer, endpoint) }
      throw .invalidAnswer(endpoint: endpoint, reason: "its answer is not JSON: \(error)")
    }
  }

  /// One answer of JSON-RPC; `id` nil takes any, as an error about the request as a whole has `null`.
  static func outcome(_ json: JSON, id: Int64?, status: Int, from endpoint: Endpoint) -> Result<JSON, ClientError> {
    if let error = json["error"], let code = error["code"]?.intValue {
      let message = error["message"]?.stringValue ?? "the node gave no message"
      return .failure(.rpc(code: Int(code), message: message, data: error["data"]))
    }
    guard status == 200 else { return .failure(.httpStatus(endpoint: endpoint, status: status, reason: "")) }
    guard let result = json["result"] else {
      return .failure(.invalidAnswer(endpoint: endpoint, reason: "it has neither a result nor an error"))
    }
    guard id == nil || json["id"]?.intValue == id else {
      return .failure(.invalidAnswer(endpoint: endpoint, reason: "it answers another call"))
    }
    return .success(result)
  }

  /// The outcomes of a batch in the order of its calls.
  static func outcomes(
    _ answer: HTTPAnswer, ids: [Int64], from endpoint: Endpoint
  ) throws(ClientError) -> [Result<JSON, ClientError>] {
    let json = try json(answer, from: endpoint)
    guard let answers = json.arrayValue else {
      _ = try outcome(json, id: nil, status: answer.status, from: endpoint).get()
      throw .invalidAnswer(endpoint: endpoint, reason: "a batch was answered by a single answer")
    }
    var byID: [Int64: JSON] = [:]
    for answer in answers {
      if let id = answer["id"]?.intValue { byID[id] = answer }
    }
    return ids.map { id in
      guard let json = byID[id] else {
        return .failure(.invalidAnswer(endpoint: endpoint, reason: "a call of the batch was not answered"))
      }
      return outcome(json, id: id, status: answer.status, from: endpoint)
    }
  }

  static func status(_ answer: HTTPAnswer, _ endpoint: Endpoint) -> ClientError {
    let line = answer.body.prefix { $0 >= 32 && $0 < 127 }.prefix(200)
    return .httpStatus(endpoint: endpoint, status: answer.status, reason: String(decoding: line, as: UTF8.self))
  }
}
