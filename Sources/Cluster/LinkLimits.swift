/// What one peer, or one stranger, may cost, and how long it is waited for.
struct LinkLimits: Sendable {
  /// From the connection to the end of the handshake.
  var handshakeTime = Duration.seconds(5)
  /// Handshakes of strangers at a time; when there is one more, the oldest has to go. Honest ones take milliseconds.
  var strangers = 256

  /// What goes into a segment, so that it fits into the least that IPv6 guarantees of a path (RFC 8200, section 5: 1280
  /// bytes less two headers). Where a tunnel or an overlay drops what is larger and says nothing, as many do, a system
  /// without probing (`net.ipv4.tcp_mtu_probing`) sends the same segment again until the link is given up.
  var segmentBytes: Int32 = 1220

  /// Requests of one peer that arrive or are carried out at a time; it may wait for as many results.
  var serving = 16_384
  /// Bytes of all these requests. No request is larger, so this is also what one may have.
  var requestBytes = Frame.maximumMessageBytes
  /// Once more bytes of answers wait for a slow peer, it can make no more calls until it has read some. One answer may be
  /// as large as a message may.
  var answerBytes = Frame.maximumMessageBytes
  /// A peer that goes on sending, and does not read what it is told about it, is cut off.
  var controlBytes = 16 << 20

  /// A peer that shall say something, and says nothing for this long, is asked; as long again, and it is lost.
  var silence = Duration.seconds(5)
  /// A peer from which nothing is awaited is asked now and then, so that a connection that some device on the way has
  /// forgotten is made anew before it is needed.
  var rest = Duration.seconds(15)
  /// A peer that takes nothing of what is sent to it for this long is lost: what waits for it must not stay in memory.
  var stall = Duration.seconds(10)
  /// A clock that comes later than this says that this process did not run: the peer is not to blame for that.
  var pauseTolerance = Duration.seconds(1)
  /// How long a member has to answer before somebody else may join under its name.
  var nameTime = Duration.seconds(2)
  /// How long the last bytes may take on their way when a node stops.
  var goodbyeTime = Duration.milliseconds(200)
}
