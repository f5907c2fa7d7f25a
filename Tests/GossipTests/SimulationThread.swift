import EventLoop

/// Where simulations compute: for seconds without a pause, which on the threads of Swift's pool would hold up every other
/// test of the process.
@globalActor actor SimulationThread {
  static let shared = SimulationThread()
  private nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private init() {
    do { loop = try EventLoop(name: "simulation") } catch { preconditionFailure("no thread: \(error)") }
    loop.start()
  }
}
