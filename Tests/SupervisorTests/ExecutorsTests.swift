import Glibc
import Testing

@testable import Supervisor

@Suite("The executors of a node", .timeLimit(.minutes(5)))
struct ExecutorsTests {
  private let mine = ExecutorName(trusted: "mine")

  private func shell(as user: String?, named name: ExecutorName) -> ExecutorConfiguration {
    ExecutorConfiguration(name: name, command: ["/bin/sh", "-s"], user: user)
  }

  @Test("are for all runners as long as they are all the node's own user's")
  func oneUser() throws {
    let own = try #require(getpwuid(getuid()).map { String(cString: $0.pointee.pw_name) })
    for configured in [[], [shell(as: nil, named: mine)], [shell(as: own, named: mine)]] {
      let executors = try Executors(configured)
      #expect(executors.unnamed == nil && executors.withheld.isEmpty && executors.ofOtherUsers.isEmpty)
    }
  }

  @Test(
    "of root are for runners that name them, once another user has one; what the configuration has is as it says",
    .enabled(if: getuid() == 0, "only root may run jobs as another user"))
  func otherUsers() throws {
    let one = try Executors([shell(as: "nobody", named: mine)])
    #expect(one.ofOtherUsers == [mine] && one.withheld == [.shell, .python])
    #expect(one.unnamed == [.echo, mine])
    let replaced = try Executors([shell(as: "nobody", named: mine), shell(as: nil, named: .shell)])
    #expect(replaced.withheld == [.python] && replaced.unnamed == [.echo, mine, .shell])
    let all = try Executors([shell(as: "nobody", named: .shell), shell(as: nil, named: .python)])
    #expect(all.ofOtherUsers == [.shell] && all.unnamed == nil)
  }
}
