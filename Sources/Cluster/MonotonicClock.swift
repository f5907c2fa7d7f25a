import Glibc

/// The time since an origin that no operator and no time server moves (`CLOCK_MONOTONIC`).
enum MonotonicClock {
  private static let origin = SuspendingClock().now
  static var now: Duration { origin.duration(to: SuspendingClock().now) }

  /// The date, in milliseconds since 1970, which may be moved.
  static var wallMilliseconds: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }
}
