/// What a client does about a node that is silent or lost, for whoever wants to know. The description is a sentence for a
/// terminal.
public enum ClientNotice: Hashable, Sendable, CustomStringConvertible {
  /// An endpoint has said nothing for a while.
  /// - Parameter next: the one that is asked as well; `nil` when there is no other.
  case silent(Endpoint, after: Duration, next: Endpoint?)
  /// Whoever was asked to wait for a job does not answer any more; the job is asked for by its id from now on.
  case waitGoesOn(job: String, reason: String)
  /// The job, or what is known of it, is on nodes that cannot be reached; it is waited for until they are back.
  case jobIsAway(job: String, reason: String)

  public var description: String {
    switch self {
    case .silent(let endpoint, let time, let next):
      "\(endpoint) has been silent for \(time)" + (next.map { ", asking \($0)" } ?? ", still waiting for it")
    case .waitGoesOn(let job, let reason): "\(reason); waiting for job \(job) by its id"
    case .jobIsAway(let job, let reason): "\(reason); waiting for job \(job) until it is back"
    }
  }
}
