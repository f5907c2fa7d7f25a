import EventLoop
import Glibc
import Logging
import TLS

/// The certificate of the API while the node runs: read again on SIGHUP, its end looked at once a day. All calls are made on
/// the loop.
final class APICertificate {
  private let files: TLSFiles
  private let logger: Logger
  private let timer: Timer
  private(set) var context: TLSContext
  private(set) var validity: CertificateValidity

  /// Loads it, and begins to watch it.
  /// - Parameter interval: how often its end is looked at.
  init(_ files: TLSFiles, on loop: EventLoop, logger: Logger, interval: Duration = .seconds(86_400))
    throws(TLSFileFailure)
  {
    let loaded = try files.load()
    self.files = files
    self.logger = logger
    context = loaded.context
    validity = loaded.validity
    timer = Timer(on: loop)
    timer.schedule(after: interval, repeating: interval) { [unowned self] in warnOfEnd() }
  }

  /// Reads the files again.
  /// - Returns: what new connections are to use; `nil` when something is wrong with the files, which is logged.
  func reload() -> TLSContext? {
    do throws(TLSFileFailure) {
      let loaded = try files.load()
      context = loaded.context
      validity = loaded.validity
      for warning in loaded.warnings { logger.warning("\(warning)") }
      logger.notice(
        "the certificate of the API was read again",
        metadata: ["file": "\(files.certificate)", "expires": "\(CertificateValidity.date(validity.notAfter))"])
      warnOfEnd()
      return context
    } catch {
      logger.error("the certificate of the API stays as it is", metadata: ["reason": "\(error)"])
      return nil
    }
  }

  private func warnOfEnd() {
    guard let warning = validity.warning(at: Int64(time(nil))) else { return }
    logger.warning("api.tls.certificate: \(warning)", metadata: ["file": "\(files.certificate)"])
  }

  func close() { timer.close() }
}
