import CHostShims
import Glibc
import VhostUser

/// A client's socket joined to a port of a guest.
///
/// The guest's side ends with SHUTDOWN both ways: what the guest sent before still reaches the
/// client, as long as that takes any of it (see `leave`). It is broken off by RST, from either side.
final class Connection: EventSource {
    /// Packets that are due.
    struct Owed: OptionSet {
        let rawValue: UInt8
        static let request = Owed(rawValue: 1)
        static let creditUpdate = Owed(rawValue: 2)
        static let shutdown = Owed(rawValue: 4)
        static let reset = Owed(rawValue: 8)
        static let creditRequest = Owed(rawValue: 16)
    }

    enum Phase {
        /// A request is due or under way.
        case requesting
        /// The guest refused, and will be asked again.
        case refused
        case established
        /// The guest is done with the connection: its last bytes are on their way to the client.
        case draining
        case over
    }

    let hostPort: UInt32
    let publication: Publication
    let file: Int32
    unowned let guest: Guest
    var registration: EventLoop.Registration?
    var credit = Credit()
    var owed: Owed = .request
    /// Whether the guest's receive queue knows that something is to be sent.
    var isQueued = false

    var phase = Phase.requesting
    var isReadable = false
    var clientFinished = false
    private var guestFinished = false
    var guestIsDeaf = false
    var isHalfClosed = false
    private var askedForCredit = false
    /// Whether bytes have moved since somebody looked, and whether the guest's were the last.
    var hasMoved = false
    var isAnswered = true
    /// Whether the guest was told that the client sends no more, whatever that does.
    var isDismissed = false
    /// Bytes of the guest that the socket had no room for.
    var pending = ByteQueue()
    /// What the guest's budget is charged.
    var charge = 0
    /// The one deadline there is: the next look at what sits in the socket, or the next request.
    var alarm: Int?
    var delay = 0
    /// When the guest first refused, or since when the client has taken nothing.
    var since: UInt64 = 0
    /// When a client that has everything is waited for no longer.
    var lingerEnd: UInt64?
    /// Its place among those that are merely waited for.
    var restPlace = RestList.Place()
    /// Bytes of the client that nobody wanted.
    var dropped = 0

    /// A connection whose socket is `file`, which it closes, also when it cannot be.
    init(
        _ file: Int32, _ guest: Guest, _ publication: Publication, hostPort: UInt32
    ) throws(HostError) {
        self.file = file
        self.guest = guest
        self.publication = publication
        self.hostPort = hostPort
        do {
            registration = try guest.loop.add(
                file, [.readable, .writable, .finished, .edges], self)
        } catch {
            close(file)
            throw error
        }
        guest.opened()
        account()
    }

    var guestPort: UInt32 { publication.guestPort }

    // MARK: The client's side

    func handle(_ events: Events) {
        if events.contains(.error), toro_error(file) != 0 { return fail() }
        if !events.isDisjoint(with: [.readable, .finished, .broken]) { isReadable = true }
        if events.contains(.writable) { flush() }
        drop()
        settle()
        guest.receive.schedule(self)
    }

    /// Whether the guest's receive queue has work here.
    var wantsToSend: Bool {
        if phase == .draining || phase == .over { return false }
        if !owed.isEmpty { return true }
        guard phase == .established, isReadable, !clientFinished, !isDismissed, !guestIsDeaf
        else {
            return false
        }
        if credit.available > 0 { return true }
        if !askedForCredit {
            askedForCredit = true
            owed.insert(.creditRequest)
            return true
        }
        return false
    }

    /// The next packet without bytes that is due; nil if bytes are.
    func takeOwed() -> VsockOperation? {
        let order: [(Owed, VsockOperation)] = [
            (.request, .request), (.reset, .reset), (.creditUpdate, .creditUpdate),
            (.creditRequest, .creditRequest), (.shutdown, .shutdown),
        ]
        for (bit, operation) in order where owed.contains(bit) {
            owed.remove(bit)
            if operation == .creditUpdate { measure() }
            return operation
        }
        return nil
    }

    /// Writes this side's credit into a packet to the guest: as much as the budget gives.
    func stamp(_ packet: inout VsockPacket) {
        credit.grant(window - pending.count)
        credit.stamp(&packet)
        account()
    }

    /// How many bytes may be promised or pending here.
    private var window: Int { guest.budget.share(charged: charge) }

    /// Receives from the client into guest memory. Zero: there is nothing to send.
    func receive(into segments: SegmentList) -> Int {
        let count = segments.receive(from: file)
        if count > 0 {
            credit.send(count)
            hasMoved = true
            isAnswered = false
            return count
        }
        if count == 0 {
            clientFinished = true
            owed.insert(.shutdown)
        } else if errno == EAGAIN {
            isReadable = false
        } else if errno != EINTR {
            fail()
        }
        return 0
    }

    /// The client broke off: the guest hears of it, unless it is done with the connection or does
    /// not know it.
    func fail() {
        pending.removeAll()
        switch phase {
        case .draining: release(orderly: false)
        case .refused:
            guest.connections.remove(self)
            release(orderly: false)
        default:
            owed = .reset
            guest.receive.schedule(self)
        }
    }

    /// Writes what waits for the socket, and what follows from it.
    func flush() {
        while !pending.isEmpty {
            let count = pending.send(to: file)
            if count < 0 {
                if errno == EINTR { continue }
                if errno != EAGAIN { fail() }
                break
            }
            credit.write(count)
            since = guest.loop.now
        }
        account()
        guard phase == .established else { return }
        if pending.isEmpty, guestFinished { halfClose() }
        let window = window
        if credit.isGrantDue(window - pending.count, window: window) {
            owed.insert(.creditUpdate)
        }
    }

    func halfClose() {
        guard !isHalfClosed else { return }
        isHalfClosed = true
        _ = Glibc.shutdown(file, Int32(SHUT_WR))
    }

    /// Charges the budget with what is promised and pending.
    func account() {
        let budget = guest.budget
        let new =
            switch phase {
            case .over: 0
            case .draining: pending.count
            default: max(budget.minimum, credit.promise + pending.count)
            }
        guard new != charge else { return }
        guest.charge(from: charge, to: new)
        charge = new
    }

    // MARK: The guest's side

    /// The guest accepted; false if it was not asked.
    func establish() -> Bool {
        guard phase == .requesting, !owed.contains(.request) else { return false }
        publication.answered(self, isAccepted: true)
        phase = .established
        delay = 0
        guest.receive.schedule(self)
        return true
    }

    /// The guest sent bytes; false if it had no right to.
    func take(_ body: SegmentList) -> Bool {
        let count = body.count
        guard phase == .established, !guestFinished, credit.receive(count) else { return false }
        hasMoved = true
        isAnswered = true
        var rest = body
        while pending.isEmpty, rest.count > 0 {
            let step = rest.send(to: file)
            if step < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN { break }
                fail()
                return true
            }
            credit.write(step)
            rest.removeFirst(step)
        }
        pending.append(rest)
        account()
        let window = window
        if credit.isGrantDue(window - pending.count, window: window) {
            owed.insert(.creditUpdate)
            guest.receive.schedule(self)
        }
        if credit.isBeyondOwnBuffer { guest.keepsToOwnBuffer = false }
        if isReportAwaited, alarm == nil || delay >= Connection.lookDelay {
            delay = Connection.firstLookDelay
            wake(after: delay)
        } else if alarm == nil {
            delay = Connection.lookDelay
            wake(after: delay)
        }
        return true
    }

    /// The guest's credit may have changed.
    func update(_ packet: VsockPacket) {
        credit.update(packet)
        if credit.available > 0 { askedForCredit = false }
        guest.receive.schedule(self)
    }

    /// The guest will not send, or not receive, any more. True if it is neither.
    func shutdown(_ flags: UInt32) -> Bool {
        if flags & VsockPacket.noSend != 0, !guestFinished {
            guestFinished = true
            flush()
        }
        if flags & VsockPacket.noReceive != 0, !guestIsDeaf {
            guestIsDeaf = true
            drop()
        }
        return guestFinished && guestIsDeaf
    }

    // MARK: Requests

    /// How long a guest may refuse a client, in milliseconds.
    static let refusalTime = 10_000
    private static let firstRequestDelay = 10
    private static let lastRequestDelay = 1_000

    /// The guest refused: its backlog may be full, or its memory. False if it was not asked, or for
    /// too long.
    func refuse() -> Bool {
        if phase == .refused { return true }
        guard phase == .requesting, !owed.contains(.request) else { return false }
        if !wasRefused {
            since = guest.loop.now
            delay = Connection.firstRequestDelay
            publication.refused()
        }
        guard guest.loop.now - since < Connection.refusalTime else {
            publication.gaveUp()
            return false
        }
        phase = .refused
        wake(after: delay)
        delay = min(delay * 2, Connection.lastRequestDelay)
        return true
    }

    /// Whether the guest has ever refused.
    var wasRefused: Bool { delay != 0 }

    func requestAgain() {
        phase = .requesting
        owed.insert(.request)
        guest.receive.schedule(self)
    }
}
