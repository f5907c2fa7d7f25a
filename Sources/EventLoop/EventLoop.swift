import CLibUV
import DequeModule
import Glibc
import Synchronization

// One uv_loop_t on one thread, as an executor of Swift's actors and tasks: an actor that returns it from
// `unownedExecutor` runs where the sockets are, so that a call between two actors of a node never changes threads.
//
// What is enqueued on the loop's own thread runs right after the libuv callback that enqueued it. What comes from other
// threads goes through a locked queue, and wakes the loop once, not once a job. Both run in the order of arrival.

/// Runs libuv's callbacks and Swift's jobs on one thread.
///
///     let loop = try EventLoop()
///     loop.start()
///     try await Task(executorPreference: loop) { try await loop.sleep(for: .seconds(1)) }.value
///     await loop.stop()
public final class EventLoop: SerialExecutor, TaskExecutor, @unchecked Sendable {
  // @unchecked: everything but `remote`, `wakesUnderWay`, `thread` and `wake` (to which libuv lets any thread send) is
  // touched on the loop's thread only; `preconditionCurrent()` stands at each entrance.

  private enum Work: Sendable {
    case job(UnownedJob)
    case body(@Sendable () -> Void)
  }

  private struct Remote {
    var work: [Work] = []
    var isStopped = false
    var stopped: [CheckedContinuation<Void, Never>] = []
    /// The thread that `start` made, until someone joins it.
    var ownThread: pthread_t?
  }

  let uv: UnsafeMutablePointer<uv_loop_t>
  private let name: String
  private let wake: UnsafeMutablePointer<uv_async_t>
  private let idle: UnsafeMutablePointer<uv_idle_t>

  private let remote = Mutex(Remote())
  /// Threads between adding to `remote` and waking the loop; `wake` must outlive them.
  private let wakesUnderWay = Atomic<Int>(0)
  /// The thread in `run`, or 0.
  private let thread = Atomic<UInt>(0)

  private var ready = Deque<Work>()
  /// The job in `run`, by its address, and whether it has enqueued itself.
  private var running: UInt?
  private var isSwitching = false
  /// Processes that `ChildProcess` started and has not reaped yet.
  var children: Set<Int32> = []
  /// In a libuv callback or in a job: what is enqueued now is run before libuv is called again.
  private var isInside = false
  private var isIdling = false
  private var isStopping = false
  /// Of names to addresses.
  private(set) var lookups: NameLookups!
  /// Where all streams and sockets of the loop read; its bytes are consumed before the callback returns.
  let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

  /// Jobs run in a row before libuv looks for events again.
  private static let jobsInARow = 4096

  /// - Parameter name: the thread's name, at most 15 bytes (prctl(2), PR_SET_NAME).
  /// - Throws: what the system refused, mostly `UVError.tooManyFiles`.
  public init(name: String = "hero-loop") throws(UVError) {
    self.name = name
    // A peer that went away is an error of write(2), not the end of the process. Children start with the default.
    signal(SIGPIPE, SIG_IGN)
    uv = .allocate(capacity: 1)
    wake = .allocate(capacity: 1)
    idle = .allocate(capacity: 1)
    let error = uv_loop_init(uv)
    guard error == 0 else {
      isStopping = true
      throw UVError(code: error, operation: "create an event loop")
    }
    uv.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    let wakeError = uv_async_init(uv, wake) { EventLoop.of($0!.pointee.loop).inside { $0.takeRemote() } }
    guard wakeError == 0 else {
      isStopping = true
      uv_loop_close(uv)
      throw UVError(code: wakeError, operation: "create an event loop")
    }
    wake.pointee.data = nil
    uv_idle_init(uv, idle)
    idle.pointee.data = nil
    lookups = NameLookups(on: self)
  }

  deinit {
    // A loop that never ran still owns its descriptors.
    if !isStopping { closeLoop() }
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
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, 8 << 20)
    var handle = pthread_t()
    let error = pthread_create(
      &handle, &attributes,
      { argument in
        let loop = Unmanaged<EventLoop>.fromOpaque(argument!).takeRetainedValue()
        hero_set_thread_name(loop.name)
        loop.run()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    precondition(error == 0, "cannot create a thread: \(error)")
    pthread_attr_destroy(&attributes)
    let ownThread = handle
    remote.withLock { $0.ownThread = ownThread }
  }

  /// Runs on the calling thread until `stop`.
  public func run() {
    let isFirst = thread.compareExchange(expected: 0, desired: UInt(pthread_self()), ordering: .relaxed).exchanged
    precondition(isFirst && !isStopping, "an event loop runs once")
    repeat {
      inside { $0.takeRemote() }
      uv_run(uv, UV_RUN_DEFAULT)
    } while !isDone
    closeLoop()
    thread.store(0, ordering: .relaxed)
    let waiters = remote.withLock {
      let waiters = $0.stopped
      $0.stopped = []
      return waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Whether nothing is left to run; from then on, what arrives is dropped.
  private var isDone: Bool {
    remote.withLock {
      if $0.work.isEmpty && ready.isEmpty && uv_loop_alive(uv) == 0 { $0.isStopped = true }
      return $0.isStopped
    }
  }

  private func closeLoop() {
    isStopping = true
    // Whoever found the queue empty before it was shut may still be about to wake the loop.
    while wakesUnderWay.load(ordering: .acquiring) != 0 { sched_yield() }
    uv_close(UnsafeMutableRawPointer(wake).assumingMemoryBound(to: uv_handle_t.self), nil)
    uv_close(UnsafeMutableRawPointer(idle).assumingMemoryBound(to: uv_handle_t.self), nil)
    uv_run(uv, UV_RUN_DEFAULT)
    precondition(uv_loop_close(uv) == 0, "an event loop ended with open handles: \(kinds { _ in true })")
  }

  /// Ends `run` once what is enqueued has run, and returns when its thread is no more. Every handle must be closed
  /// before; work on the thread pool is waited for. What is enqueued after the end is dropped.
  ///
  /// Not to be called by a task that itself runs on this loop.
  public func stop() async {
    precondition(!isCurrent, "an event loop cannot wait for its own end")
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let isStopped = remote.withLock {
        if !$0.isStopped { $0.stopped.append(continuation) }
        return $0.isStopped
      }
      if isStopped { continuation.resume() } else { execute { self.beginStop() } }
    }
    let ownThread = remote.withLock {
      let ownThread = $0.ownThread
      $0.ownThread = nil
      return ownThread
    }
    if let ownThread { pthread_join(ownThread, nil) }
  }

  private func beginStop() {
    guard !isStopping else { return }
    let open = kinds { !$0.isClosed }
    precondition(open.isEmpty, "handles are open at the end of an event loop: \(open)")
    isStopping = true
    // Now uv_run returns as soon as nothing is under way any more; until then the loop can still be woken.
    uv_unref(UnsafeMutableRawPointer(wake).assumingMemoryBound(to: uv_handle_t.self))
  }

  /// Whether the caller is on the loop's thread.
  public var isCurrent: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

  /// Stops the program when the caller is not on the loop's thread.
  @inline(__always)
  public func preconditionCurrent() { precondition(isCurrent, "not on the event loop's thread") }

  /// Milliseconds of the monotonic clock at the start of this turn of the loop.
  public var nowMilliseconds: UInt64 { uv_now(uv) }

  /// The kinds of the handles that libuv still knows, those of the loop itself left out.
  public var liveHandles: [String] {
    preconditionCurrent()
    return kinds { _ in true }
  }

  private func kinds(where isIncluded: (LoopHandle) -> Bool) -> [String] {
    var handles: [LoopHandle] = []
    withUnsafeMutablePointer(to: &handles) {
      uv_walk(
        uv,
        { handle, handles in
          guard handle!.pointee.data != nil else { return }
          handles!.assumingMemoryBound(to: [LoopHandle].self).pointee.append(LoopHandle.of(handle!))
        }, $0)
    }
    return handles.filter(isIncluded).map(\.kind).sorted()
  }

  // MARK: Executor

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent && running == Self.address(job) { isSwitching = true } else { enqueue(.job(job)) }
  }

  /// Runs a body on the loop, soon, but not within the call. From any thread.
  public func execute(_ body: @escaping @Sendable () -> Void) { enqueue(.body(body)) }

  public func checkIsolated() { preconditionCurrent() }
  public func isIsolatingCurrentContext() -> Bool? { isCurrent }

  private func enqueue(_ work: Work) {
    if isCurrent && isInside { ready.append(work) } else { send(work) }
  }

  private func send(_ work: Work) {
    let mustWake = remote.withLock {
      guard !$0.isStopped else { return false }
      $0.work.append(work)
      guard $0.work.count == 1 else { return false }
      wakesUnderWay.add(1, ordering: .relaxed)
      return true
    }
    guard mustWake else { return }
    uv_async_send(wake)
    wakesUnderWay.subtract(1, ordering: .releasing)
  }

  /// Around every libuv callback: runs `body`, then what it enqueued.
  @inline(__always)
  func inside(_ body: (EventLoop) -> Void) {
    isInside = true
    body(self)
    if !ready.isEmpty || isIdling { runReady() }
    isInside = false
  }

  private func takeRemote() {
    remote.withLock {
      ready.append(contentsOf: $0.work)
      // One burst does not hold on to its memory.
      $0.work.removeAll(keepingCapacity: $0.work.capacity <= Self.jobsInARow)
    }
  }

  private func runReady() {
    var count = 0
    while count < Self.jobsInARow, let work = ready.popFirst() {
      count += 1
      switch work {
      case .job(let job): run(job)
      case .body(let body): body()
      }
    }
    setIdling(!ready.isEmpty)
  }

  /// Runs a job until it suspends.
  ///
  /// At each call of an actor and each return from one, the runtime compares the executors that it was told here with the
  /// actor's and with the task's preference, and if one differs, enqueues the task again (`mustSwitchToRun` in Swift's
  /// Actor.cpp). Which preference a task has cannot be asked, and every task arrives by the same ways. Measured with Swift
  /// 6.3.1, enqueued again per call of another actor of the loop:
  ///
  ///                                       with preference   without
  ///     runSynchronously(isolatedTo:…)                  0         2
  ///     runSynchronously(on:)                           2         0
  ///
  /// A task that enqueues itself while it runs here does so for this reason only: what was called before has not suspended
  /// it. So it goes on at once, in the other way. It pays once for each resumption instead of twice for each call, and
  /// nothing else runs between two calls, or between a check and the suspension that follows it, of any task.
  private func run(_ job: UnownedJob) {
    running = Self.address(job)
    var hasPreference = true
    repeat {
      isSwitching = false
      if hasPreference {
        job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
      } else {
        job.runSynchronously(on: asUnownedSerialExecutor())
      }
      hasPreference.toggle()
    } while isSwitching
    running = nil
  }

  /// `UnownedJob` is one pointer and has no identity in public.
  private static func address(_ job: UnownedJob) -> UInt { unsafeBitCast(job, to: UInt.self) }

  /// While it idles, libuv does not wait for events, and jobs that are left over run in its next turn.
  private func setIdling(_ isIdling: Bool) {
    guard isIdling != self.isIdling else { return }
    self.isIdling = isIdling
    if isIdling {
      uv_idle_start(idle) { EventLoop.of($0!.pointee.loop).inside { $0.runReady() } }
    } else {
      uv_idle_stop(idle)
    }
  }
}
