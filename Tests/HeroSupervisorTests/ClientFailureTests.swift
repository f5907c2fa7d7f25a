import SupervisorClient
import Testing

@testable import hero_supervisor

struct ClientFailureTests {
  @Test("a proxy that lost the node leaves open what was done; another status of HTTP is a refusal")
  func proxies() {
    for (status, exit) in [(502, ExitStatus.unreachable), (504, .unreachable), (503, .refused), (404, .refused)] {
      let error = ClientError.httpStatus(endpoint: Endpoint(host: "n1"), status: status, reason: "")
      let failure = CommandFailure(error, calling: "job.stop", endpoints: ["n1"], hasKey: true)
      #expect(failure.status == exit && failure.hints.isEmpty == (exit == .refused), "\(status)")
    }
  }
}
