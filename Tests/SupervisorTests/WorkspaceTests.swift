import EventLoop
import Foundation
import Logging
import Synchronization
import Testing

@testable import Supervisor

/// Trees that jobs leave behind so that they cannot be removed, or so that removing them removes something else.
@Suite("The removal of workspaces", .timeLimit(.minutes(5)))
struct WorkspaceTests {
  /// A work directory in a directory of the test's own, on a loop of its own.
  private struct Scene {
    let scratch = ScratchDirectory()
    let workspaces: Workspaces
    let lines = LogLines()
    var work: String { "\(scratch.path)/work" }

    init(on loop: EventLoop, removalTime: Duration) throws {
      workspaces = try Workspaces(
        at: "\(scratch.path)/work", loop: loop, logger: lines.logger, retryInterval: .zero, removalTime: removalTime)
    }

    func remove(_ name: String) async { await workspaces.remove([FileName(name)]) }
  }

  private func withScene(
    removalTime: Duration = .seconds(120), _ body: @escaping @Sendable (Scene) async throws -> Void
  ) async throws {
    let loop = try EventLoop()
    loop.start()
    let result = await Task(executorPreference: loop) {
      let scene = try Scene(on: loop, removalTime: removalTime)
      try await body(scene)
      await scene.workspaces.close()
    }.result
    await loop.stop()
    try result.get()
  }

  @Test(
    "leaves what lies outside alone while a process puts links in the place of directories, and ends with the tree gone"
  )
  func race() async throws {
    try await withScene { scene in
      let victim = "\(scene.scratch.path)/victim"
      // With the names of the tree, so that a path which leads through the link finds them.
      makeTree(victim, files: 40)
      makeTree("\(victim)/inner", files: 40)
      // Through a descriptor, so that it goes on wherever the directory is moved to.
      let attacker = BusyThread {
        let directory = open("\(scene.work)/t/d", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return }
        defer { close(directory) }
        repeat {
          renameat(directory, "e", directory, "f")
          symlinkat(victim, directory, "e")
          usleep(.random(in: 0..<100))
          unlinkat(directory, "e", 0)
          usleep(.random(in: 0..<100))
        } while renameat(directory, "f", directory, "e") == 0
      }
      for round in 0..<300 {
        // Made elsewhere, or the link would lead the making to the victim.
        makeTree("\(scene.scratch.path)/next/d/e", files: 40)
        makeTree("\(scene.scratch.path)/next/d/e/inner", files: 40)
        #expect(rename("\(scene.scratch.path)/next", "\(scene.work)/t") == 0)
        await scene.remove("t")
        #expect(access("\(scene.work)/t", F_OK) != 0, "the tree of round \(round) is still there")
      }
      attacker.stop()
      #expect(names(in: victim).count == 41 && names(in: "\(victim)/inner").count == 40)
      #expect(names(in: scene.work) == [])
    }
  }

  @Test("removes a tree of depth 5000 and with subdirectories at each level, with a handful of descriptors")
  func depth() async throws {
    try await withScene { scene in
      makeDeepTree("\(scene.work)/t", depth: 5000)
      await scene.remove("t")
      #expect(names(in: scene.work) == [] && scene.lines.warnings == [])
    }
  }

  @Test("removes names that are not UTF-8")
  func bytes() async throws {
    try await withScene { scene in
      makeTree("\(scene.work)/t", files: 1)
      for name: [UInt8] in [[0x78, 0xFF], [0xC3], [0x0A], [0xED, 0xA0, 0x80]] {
        let path = Array("\(scene.work)/t/".utf8) + name
        let root = (path + [0x64, 0]).map(CChar.init(bitPattern:))
        close(open((path + [0]).map(CChar.init(bitPattern:)), O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
        #expect(mkdir(root, 0o700) == 0)
        #expect(mkdir((path + [0x64, 0x2F] + name + [0]).map(CChar.init(bitPattern:)), 0o700) == 0)
      }
      await scene.remove("t")
      #expect(names(in: scene.work) == [] && scene.lines.warnings == [])
    }
  }

  @Test("removes directories without permissions also for a node that is not root")
  func modes() async throws {
    try await withScene { scene in
      // The kernel takes root's power over files from a thread whose uid for files is another's (setfsuid(2)); the rest of
      // this process keeps it.
      let work = try WorkDirectory(at: scene.work)
      chmod(scene.scratch.path, 0o711)
      chown(scene.work, geteuid() == 0 ? 65534 : geteuid(), getegid())
      let outcome = await onThread {
        becomeOwner(of: scene.work)
        for mode: mode_t in [0, 0o555, 0o300] {
          let path = "\(scene.work)/t/\(mode)"
          makeTree("\(path)/inner/most", files: 2)
          makeTree("\(path)/empty", files: 0)
          for directory in ["\(path)/inner/most", "\(path)/inner", "\(path)/empty", path] { chmod(directory, mode) }
        }
        chmod("\(scene.work)/t", 0)
        #expect(geteuid() != 0 || access("\(scene.work)/t", F_OK) == 0)
        #expect(open("\(scene.work)/t", O_RDONLY) < 0 && errno == EACCES, "the permissions bite")
        return TreeRemoval.run(FileName("t"), in: work, until: .now + .seconds(60))
      }
      #expect(outcome.isGone, "\(outcome)")
      #expect(names(in: scene.work) == [])
    }
  }

  @Test("removes FIFOs, sockets, devices and links, without opening or following them")
  func kinds() async throws {
    try await withScene { scene in
      // Never a directory of the machine: whoever breaks the removal to see this test fail runs it as root.
      let victim = "\(scene.scratch.path)/victim"
      makeTree(victim, files: 3)
      for path in ["\(scene.work)/t", "\(scene.work)/t/d"] {
        makeTree(path, files: 1)
        #expect(mkfifo("\(path)/fifo", 0o600) == 0)
        for (name, target) in [
          ("victim", victim), ("work", scene.work), ("up", ".."), ("self", "self"), ("none", "/none"),
        ] {
          #expect(symlink(target, "\(path)/\(name)") == 0)
        }
        #expect(bindSocket("\(path)/socket"))
        // Only root may make it.
        mknod("\(path)/null", S_IFCHR | 0o600, 0x103)
      }
      await scene.remove("t")
      #expect(names(in: scene.work) == [] && scene.lines.warnings == [])
      #expect(symlink(victim, "\(scene.work)/link") == 0)
      await scene.remove("link")
      #expect(names(in: scene.work) == [] && names(in: victim).count == 3)
    }
  }

  @Test("removes 20,000 files and 2,000 directories, piece by piece")
  func many() async throws {
    try await withScene { scene in
      makeTree("\(scene.work)/t", files: 16_000)
      for i in 0..<2000 { makeTree("\(scene.work)/t/a/b\(i)", files: 2) }
      await scene.remove("t")
      #expect(names(in: scene.work) == [] && scene.lines.warnings == [])
    }
  }

  @Test("gives up for now against a process that makes files for ever, and removes them when it is gone")
  func recreation() async throws {
    try await withScene(removalTime: .milliseconds(600)) { scene in
      makeTree("\(scene.work)/t/d", files: 10)
      let directory = open("\(scene.work)/t", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      defer { close(directory) }
      let count = Atomic<Int>(0)
      let attacker = BusyThread {
        let name = "f\(count.wrappingAdd(1, ordering: .relaxed).newValue)"
        close(openat(directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
      }
      await scene.remove("t")
      // On a busy machine the removal may win at once.
      let left = await scene.workspaces.notRemoved
      #expect(left == (access("\(scene.work)/t", F_OK) == 0 ? 1 : 0))
      attacker.stop()
      await scene.remove("other")
      #expect(await eventually { await scene.workspaces.notRemoved == 0 })
      #expect(names(in: scene.work) == [])
    }
  }

  @Test(
    "logs what cannot be removed with its path and reason, counts it, and tries again",
    .enabled(if: canMakeImmutable, "needs a file system with chattr +i, and the right to use it"))
  func immutable() async throws {
    try await withScene { scene in
      makeTree("\(scene.work)/t/d/e", files: 2)
      makeTree("\(scene.work)/t/other", files: 2)
      #expect(ScratchDirectory.shell("chattr +i \(scene.work)/t/d/e"))
      await scene.remove("t")
      #expect(await scene.workspaces.notRemoved == 1)
      #expect(scene.lines.warnings.count == 1)
      let warning = try #require(scene.lines.warnings.first)
      #expect(warning.contains("\(scene.work)/t/d/e") && warning.contains("EPERM"), "\(warning)")
      #expect(names(in: "\(scene.work)/t") == ["d"], "all else is gone")
      await scene.remove("u")
      #expect(await scene.workspaces.notRemoved == 1)
      #expect(ScratchDirectory.shell("chattr -i \(scene.work)/t/d/e"))
      let isGone = await eventually {
        await scene.remove("v")
        return await scene.workspaces.notRemoved == 0
      }
      #expect(isGone && names(in: scene.work) == [] && scene.lines.warnings.count == 1)
    }
  }

  @Test(
    "does not enter what is mounted in a workspace",
    .enabled(if: geteuid() == 0, "only root may mount"))
  func mounts() async throws {
    try await withScene { scene in
      makeTree("\(scene.work)/t/d/mount", files: 1)
      makeTree("\(scene.scratch.path)/victim", files: 5)
      try #require(ScratchDirectory.shell("mount --bind \(scene.scratch.path)/victim \(scene.work)/t/d/mount"))
      await scene.remove("t")
      let found = (names(in: "\(scene.scratch.path)/victim").count, await scene.workspaces.notRemoved)
      #expect(ScratchDirectory.shell("umount \(scene.work)/t/d/mount"))
      #expect(found == (5, 1))
      #expect(scene.lines.warnings.first?.contains("EBUSY") == true, "\(scene.lines.warnings)")
      await scene.remove("t")
      #expect(names(in: scene.work) == [])
    }
  }

  @Test("removes a workspace that its job renamed, and what a former life of the node left, but none that is in use")
  func strays() async throws {
    try await withScene { scene in
      makeTree("\(scene.work)/t", files: 2)
      makeTree("\(scene.work)/used", files: 2)
      await scene.workspaces.hold([FileName("used")])
      #expect(rename("\(scene.work)/t", "\(scene.work)/elsewhere") == 0)
      await scene.remove("t")
      #expect(await eventually { names(in: scene.work) == ["used"] })
      makeTree("\(scene.work)/former/d", files: 2)
      makeTree("\(scene.work)/former.payload", files: 0)
      await eventually {
        await scene.workspaces.removeRemains()
        return names(in: scene.work) == ["used"]
      }
      #expect(names(in: scene.work) == ["used"] && names(in: "\(scene.work)/used").count == 2)
    }
  }

  @Test("makes a directory and a payload's file for the job alone, and removes both")
  func life() async throws {
    try await withScene { scene in
      let configuration = ExecutorConfiguration(
        name: ExecutorName(trusted: "e"), command: ["cat", "{payload_file}"], payload: .file)
      let workspace = Workspace(in: scene.workspaces, for: try ProcessExecutor(configuration, searchPath: "/bin"))
      let file = try #require(try await workspace.make(payload: "text"))
      #expect(FileManager.default.contents(atPath: file) == Data("text".utf8))
      var status = stat()
      #expect(stat(workspace.path, &status) == 0 && status.st_mode & 0o7777 == 0o700)
      #expect(stat(file, &status) == 0 && status.st_mode & 0o7777 == 0o600)
      await workspace.remove()
      #expect(names(in: scene.work) == [])
    }
  }

  @Test("is for a directory of the node's own only: no link, no file")
  func refusals() async throws {
    try await withScene { scene in
      let victim = "\(scene.scratch.path)/victim"
      makeTree(victim, files: 3)
      #expect(symlink(victim, "\(scene.scratch.path)/link") == 0)
      close(open("\(scene.scratch.path)/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
      for (name, reason) in [("link", "is a symbolic link"), ("file", "is not a directory")] {
        let error = #expect(throws: UnusableWorkDirectory.self) {
          try WorkDirectory(at: "\(scene.scratch.path)/\(name)")
        }
        #expect(error?.reason.hasPrefix(reason) == true, "\(String(describing: error))")
      }
      #expect(names(in: victim).count == 3)
    }
  }
}

// MARK: Trees

/// Makes a directory, with those above it, and files in it.
private func makeTree(_ path: String, files: Int) {
  try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  for i in 0..<files { close(open("\(path)/file\(i)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)) }
}

/// Directories below each other, further than any path reaches, with a file and an empty directory beside each.
private func makeDeepTree(_ path: String, depth: Int) {
  mkdir(path, 0o700)
  var directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  for _ in 0..<depth {
    mkdirat(directory, "d", 0o700)
    mkdirat(directory, "empty", 0o700)
    close(openat(directory, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
    let next = openat(directory, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    precondition(next >= 0)
    close(directory)
    directory = next
  }
  close(directory)
}

private func names(in path: String) -> [String] {
  ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
}

private func bindSocket(_ path: String) -> Bool {
  let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
    }
  }
}

private let canMakeImmutable: Bool = {
  let scratch = ScratchDirectory()
  return ScratchDirectory.shell("mkdir \(scratch.path)/d && chattr +i \(scratch.path)/d")
}()

// MARK: Threads

/// Does the same again and again on a thread of its own.
private final class BusyThread: Sendable {
  private let isStopped = Atomic<Bool>(false)
  private let hasEnded = DispatchSemaphore(value: 0)

  init(_ body: @escaping @Sendable () -> Void) {
    Thread.detachNewThread { [self] in
      while !isStopped.load(ordering: .relaxed) { body() }
      hasEnded.signal()
    }
  }

  func stop() {
    isStopped.store(true, ordering: .relaxed)
    hasEnded.wait()
  }
}

/// Runs a body on a thread that ends with it.
private func onThread<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
  await withCheckedContinuation { continuation in
    Thread.detachNewThread { continuation.resume(returning: body()) }
  }
}

/// This thread has the rights of a directory's owner from now on, and no more.
private func becomeOwner(of path: String) {
  var status = stat()
  precondition(stat(path, &status) == 0)
  // setfsuid(2) is not among what Swift imports of glibc.
  let symbol = dlsym(nil, "setfsuid")!
  let setfsuid = unsafeBitCast(symbol, to: (@convention(c) (uid_t) -> CInt).self)
  _ = setfsuid(status.st_uid)
}

/// Whether a condition comes true within two minutes.
@discardableResult
private func eventually(_ condition: () async throws -> Bool) async rethrows -> Bool {
  let deadline = ContinuousClock.now + .seconds(120)
  while ContinuousClock.now < deadline {
    if try await condition() { return true }
    try? await Task.sleep(for: .milliseconds(2))
  }
  return try await condition()
}

// MARK: Log

/// What was logged at `warning` and above.
private final class LogLines: Sendable {
  private let lines = Mutex<[String]>([])
  var warnings: [String] { lines.withLock { $0 } }
  var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

  private struct Handler: LogHandler {
    let lines: LogLines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.warning

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      lines.lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") }
    }
  }
}
