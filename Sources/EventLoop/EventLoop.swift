import CLibUV
import Glibc
import Synchronization

// One uv_loop_t on one thread, as an executor of Swift's actors and tasks: an actor that returns it from
// `unownedExecutor` runs where the sockets are, so that a call between two actors of a node never changes threads.
//
// Swift's jobs that are enqueued on the loop's own thread run right after the libuv callback that enqueued them. Those
// from other threads go through a locked queue, and wake the loop once, not once a job.

/// Runs libuv's callbacks and Swift's jobs on one thread.
public final class EventLoop: SerialExecutor, TaskExecutor, @unchecked Sendable {
  // @unchecked: everything but `remote`, `thread` and `wake` (which libuv allows from any thread) is touched on the
  // loop's thread only; `preconditionCurrent()` stands at each entrance.

  let uv: UnsafeMutablePointer<uv_loop_t>
  private let name: String
  private let wake: UnsafeMutablePointer<uv_async_t>
  private let idle: UnsafeMutablePointer<uv_idle_t>

  private struct Remote {
    var jobs: [UnownedJob] = []
    var bodies: [@Sendable () -> Void] = []
    var isStopped = false
    var stopped: [CheckedContinuation<Void, Never>] = []
  }
  private let remote = Mutex(Remote())
  private let thread = Atomic<UInt>(0)
  private var handle = pthread_t()

  private var ready: [UnownedJob] = []
  private var batch: [UnownedJob] = []
  /// In a libuv callback or in a job: what is enqueued now is run before libuv is called again.
  private var isInside = false
  private var isIdling = false
  private var handles: [ObjectIdentifier: String] = [:]
  /// Where all streams and sockets of the loop read; its bytes are consumed before the callback returns.
  let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

  /// Jobs run in a row before libuv looks for events again.
  private static let jobsInARow = 4096

  /// - Parameter name: the thread's name, at most 15 bytes (prctl(2), PR_SET_NAME).
  public init(name: String = "hero-loop") throws(UVError) {
    self.name = name
    // A peer that went away is an error of write(2), not the end of the process.
    signal(SIGPIPE, SIG_IGN)
    uv = .allocate(capacity: 1)
    wake = .allocate(capacity: 1)
    idle = .allocate(capacity: 1)
    try UVError.check(uv_loop_init(uv), "create an event loop")
    uv.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    try UVError.check(
      uv_async_init(uv, wake) { EventLoop.of($0!.pointee.loop).inside { $0.takeRemote() } }, "create an event loop")
    uv_idle_init(uv, idle)
  }

  deinit {
    readBuffer.deallocate()
    uv.deallocate()
    wake.deallocate()
    idle.deallocate()
  }

  static func of(_ uv: UnsafeMutablePointer<uv_loop_t>) -> EventLoop {
    Unmanaged.fromOpaque(uv.pointee.data).takeUnretainedValue()
  }

  // MARK: Running

  /// Runs on a thread of its own until `stop`.
  public func start() {
    let box = Unmanaged.passRetained(self)
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, 8 << 20)
    let error = pthread_create(
      &handle, &attributes,
      { argument in
        let loop = Unmanaged<EventLoop>.fromOpaque(argument!).takeRetainedValue()
        hero_set_thread_name(loop.name)
        loop.run()
        return nil
      }, box.toOpaque())
    precondition(error == 0, "cannot create a thread: \(error)")
    pthread_detach(handle)
    pthread_attr_destroy(&attributes)
  }

  /// Runs on the calling thread until `stop`.
  public func run() {
    thread.store(UInt(pthread_self()), ordering: .releasing)
    inside { $0.takeRemote() }
    uv_run(uv, UV_RUN_DEFAULT)
    precondition(uv_loop_close(uv) == 0, "an event loop ended with open handles: \(liveHandles)")
    let waiters = remote.withLock {
      $0.isStopped = true
      return $0.stopped
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Ends `run` and returns when the loop is no more. Every handle must be closed before.
  ///
  /// Not to be called by a task that itself runs on this loop.
  public func stop() async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let isStopped = remote.withLock {
        if !$0.isStopped { $0.stopped.append(continuation) }
        return $0.isStopped
      }
      if isStopped { return continuation.resume() }
      execute {
        precondition(self.handles.isEmpty, "handles are open at the end of an event loop: \(self.liveHandles)")
        self.setIdling(false)
        uv_close(UnsafeMutableRawPointer(self.wake).assumingMemoryBound(to: uv_handle_t.self), nil)
        uv_close(UnsafeMutableRawPointer(self.idle).assumingMemoryBound(to: uv_handle_t.self), nil)
      }
    }
  }

  /// Whether the caller is on the loop's thread.
  public var isCurrent: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

  /// Stops the program when the caller is not on the loop's thread.
  @inline(__always)
  public func preconditionCurrent() { precondition(isCurrent, "not on the event loop's thread") }

  /// Milliseconds of the monotonic clock at the start of this turn of the loop.
  public var nowMilliseconds: UInt64 { uv_now(uv) }

  /// The kinds of the handles that are open, those of the loop itself left out.
  public var liveHandles: [String] { handles.values.sorted() }

  func register(_ handle: AnyObject, kind: String) { handles[ObjectIdentifier(handle)] = kind }
  func unregister(_ handle: AnyObject) { handles[ObjectIdentifier(handle)] = nil }

  // MARK: Executor

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent && isInside {
      ready.append(job)
    } else {
      let isFirst = remote.withLock {
        $0.jobs.append(job)
        return $0.jobs.count == 1 && $0.bodies.isEmpty
      }
      if isFirst { uv_async_send(wake) }
    }
  }

  public func checkIsolated() { preconditionCurrent() }
  public func isIsolatingCurrentContext() -> Bool? { isCurrent }

  /// Runs a body on the loop, soon. From any thread.
  public func execute(_ body: @escaping @Sendable () -> Void) {
    let isFirst = remote.withLock {
      $0.bodies.append(body)
      return $0.bodies.count == 1 && $0.jobs.isEmpty
    }
    if isFirst { uv_async_send(wake) }
  }

  /// A libuv callback: runs `body`, then the jobs that it enqueued.
  @inline(__always)
  func inside(_ body: (EventLoop) -> Void) {
    isInside = true
    body(self)
    runReady()
    isInside = false
  }

  private func takeRemote() {
    var bodies: [@Sendable () -> Void] = []
    remote.withLock {
      ready.append(contentsOf: $0.jobs)
      $0.jobs.removeAll(keepingCapacity: true)
      swap(&bodies, &$0.bodies)
    }
    for body in bodies { body() }
  }

  private func runReady() {
    var count = 0
    while !ready.isEmpty && count < Self.jobsInARow {
      swap(&ready, &batch)
      count += batch.count
      for job in batch {
        job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
      }
      batch.removeAll(keepingCapacity: true)
    }
    setIdling(!ready.isEmpty)
  }

  /// While it idles, libuv does not wait for events, and jobs that are left over run in its next turn.
  private func setIdling(_ isIdling: Bool) {
    guard isIdling != self.isIdling else { return }
    self.isIdling = isIdling
    if isIdling {
      uv_idle_start(idle) { EventLoop.of($0!.pointee.loop).inside { _ in } }
    } else {
      uv_idle_stop(idle)
    }
  }
}
