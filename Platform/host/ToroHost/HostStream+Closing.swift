#if !hasFeature(Embedded)
import CToroHost
import Glibc
import ToroCore

/// What a closed connection waits for, and how long.
///
///     delivering ──the peer has everything──▶ dropping ──its end, 30 s, 64 MiB──▶ gone
///         └──nothing taken for 120 s──▶ reset
///
/// A socket that is closed with bytes unread is reset, and our last bytes with it: so the socket
/// stays, and what comes is read and dropped. No task waits for that.
struct HostLinger {
    /// How long a peer that takes none of our bytes is waited for.
    var stallTime = TimeSpan.seconds(120)
    /// How long the peer may go on sending after it has everything.
    var dropTime = TimeSpan.seconds(30)
    /// How many bytes of it are dropped.
    var dropBytes = 64 << 20
    /// How often a peer that has not everything is looked at.
    var lookTime = TimeSpan.seconds(1)

    /// The bytes that had not left when the peer was looked at last, and since when there are as
    /// many.
    fileprivate var unsent: Int64 = .max
    fileprivate var since = Instant(nanoseconds: 0)
    /// When the peer must have ended, once it has everything.
    fileprivate var end: Instant?
    /// Whether the peer has ended.
    fileprivate var hasEnded = false
    fileprivate var timer: TimerID?
}

extension HostStream {
    /// Closes the stream in order; see ``ToroCore/ByteStream``.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        if !isFinished { shutdown(readiness.file, Int32(SHUT_WR)) }
        isFinished = true
        // The descriptor's observer keeps this object until it is released.
        readiness.observer = { [self] in drop() }
        HostCore.shared.lingers(self)
        readiness.changed()
        look()
    }

    /// Breaks the connection off; see ``ToroCore/ByteStream``.
    public func abort() {
        isClosed = true
        guard readiness.isOpen else { return }
        toro_host_reset_on_close(readiness.file)
        release()
    }

    /// Reads and forgets what the peer still sends.
    private func drop() {
        while readiness.isOpen, !linger.hasEnded {
            let count = toro_host_drop(readiness.file)
            switch count {
            case 1...:
                linger.dropBytes -= Int(count)
                if linger.dropBytes < 0 { return release() }
            case 0:
                linger.hasEnded = true
                releaseIfDone()
            case -Int64(EINTR): continue
            case -Int64(EAGAIN): return
            default: return release()
            }
        }
    }

    /// Looks at the peer, now and whenever there is something to decide.
    private func look() {
        linger.timer = nil
        guard readiness.isOpen else { return }
        let now = HostCore.shared.now
        let unsent = unsentBytes
        if unsent > 0 {
            if unsent != linger.unsent {
                linger.unsent = unsent
                linger.since = now
            } else if now - linger.since >= linger.stallTime {
                return abort()
            }
        } else if let end = linger.end {
            if now >= end { return release() }
        } else {
            linger.end = now + linger.dropTime
            releaseIfDone()
            guard readiness.isOpen else { return }
        }
        let next = linger.end ?? now + linger.lookTime
        linger.timer = HostCore.shared.schedule(at: next) { [self] in look() }
    }

    /// Gives the socket back if the peer has ended and has everything.
    private func releaseIfDone() {
        if linger.hasEnded, unsentBytes == 0 { release() }
    }

    /// Gives the socket back if nothing but the peer's end is waited for.
    func releaseIfDelivered() {
        if unsentBytes == 0 { release() }
    }

    /// Gives the socket back.
    private func release() {
        acknowledged = progress.acknowledged
        if let timer = linger.timer { HostCore.shared.cancel(timer) }
        linger.timer = nil
        readiness.observer = nil
        readiness.close()
        HostCore.shared.lingersNoMore(self)
    }

    /// The bytes that the peer's system has not confirmed.
    private var unsentBytes: Int64 {
        // Our end of the stream counts as a byte until the peer has confirmed it.
        max(toro_host_unsent(readiness.file) - (isFinished ? 1 : 0), 0)
    }

    /// How far the bytes have come, as the peer's system has confirmed them; see
    /// ``ToroCore/ByteStream``.
    public var progress: StreamProgress {
        guard readiness.isOpen else {
            return StreamProgress(accepted: accepted, acknowledged: acknowledged)
        }
        let queued = min(UInt64(unsentBytes), accepted)
        return StreamProgress(accepted: accepted, acknowledged: accepted - queued)
    }
}
#endif
