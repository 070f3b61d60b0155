import ToroCore

/// Who may take memory, and who waits for it.
///
/// The runtime cannot be refused memory for tasks and objects: a guest without any ends. So whatever
/// takes some is begun when there is enough for it and for all that was begun before and has not
/// taken its part yet. A request that finds none waits in its connection, first come, first served.
///
///     head complete ──memory for the exchange──▶ exchange
///             └──none──▶ queued ──memory within 10 s──▲
///                           └──▶ 503, or the end without a word if there is none for that either
extension HTTPService {
    /// What must be free besides what is counted: for drivers, and for blocks of files.
    private static var spare: Int { 96 << 10 }
    /// What must be left when an exchange begins, so that those under way can get blocks; and when
    /// a connection is accepted, so that those there are can begin exchanges.
    private static var exchangeSpare: Int { spare + 32 << 10 }
    private static var connectionSpare: Int { spare + 96 << 10 }
    /// What a task takes from where it rests to the end of an exchange, buffers left out. And what it
    /// takes for each byte of the request's head: for paths and names.
    private static var claimBase: Int { 4 << 10 }
    private static var claimPerByte: Int { 4 }
    /// What must be left when a connection says its last word, 408 or 503, and what that takes.
    private static var wordSpare: Int { 32 << 10 }
    private static var wordClaim: Int { 2 << 10 }
    /// Exchanges that begin in any case: their parts are less than what the runtime has to itself in
    /// the smallest guest. Somebody must go on, for memory to come back.
    private static var freeClaims: Int { 8 }
    /// How long a request waits for memory, and how often those that wait are looked at: it may come
    /// back elsewhere.
    private static var queueTime: TimeSpan { .seconds(10) }
    private static var queueInterval: TimeSpan { .milliseconds(50) }

    /// Whether there is memory for a connection more.
    var hasConnectionMemory: Bool { hasRoom(Self.connectionSpare + Self.claimBase) }

    /// Whether there is memory for a block of a file more: 4 KiB are left for each of the answers
    /// with files, which need them from time to time to go on.
    var hasBlockMemory: Bool { hasRoom(Self.spare + answers * Self.claimBase) }

    /// Whether there is memory for so many bytes beside all claims.
    @inline(never) private func hasRoom(_ size: Int) -> Bool { hasMemory(claimed + size) }

    /// Whether there is memory to decode a head of `length` bytes.
    func hasHeadMemory(_ length: Int) -> Bool { hasMemory(Self.claimPerByte * length) }

    // MARK: Claims

    /// A new connection has a claim until it rests for the first time.
    func claim(_ connection: HTTPConnection) { change(connection, to: Self.claimBase) }

    /// The connection has taken its part, or needs none any more.
    func yieldClaim(_ connection: HTTPConnection) {
        guard connection.claim > 0 else { return }
        change(connection, to: 0)
        grant()
    }

    /// The connection's task has gone as deep as it will but for a little: its answer is known.
    func reduceClaim(_ connection: HTTPConnection) {
        change(connection, to: min(connection.claim, Self.claimBase / 4))
    }

    @inline(never) private func change(_ connection: HTTPConnection, to claim: Int) {
        if connection.claim > 0 { claims -= 1 }
        if claim > 0 { claims += 1 }
        claimed += claim - connection.claim
        connection.claim = claim
    }

    /// Whether the connection may begin an exchange without waiting. From then on it has a claim.
    func admits(_ connection: HTTPConnection) -> Bool {
        if connection.claim > 0 { return true }
        guard queued.first == nil, hasExchangeMemory(connection) else { return false }
        change(connection, to: part(of: connection))
        return true
    }

    /// Whether the connection, which has been refused, may be told so. From then on it has a claim.
    func admitsLastWord(_ connection: HTTPConnection) -> Bool {
        if connection.claim > 0 { return true }
        guard hasRoom(Self.wordSpare + Self.wordClaim) else { return false }
        change(connection, to: Self.wordClaim)
        return true
    }

    @inline(never) private func hasExchangeMemory(_ connection: HTTPConnection) -> Bool {
        claims < Self.freeClaims
            || hasRoom(Self.exchangeSpare + part(of: connection))
    }

    private func part(of connection: HTTPConnection) -> Int {
        Self.claimBase + Self.claimPerByte * connection.headLength
    }

    // MARK: The queue

    /// Waits until the connection, which is busy, may begin its exchange; false if it may not in time.
    func waitForMemory(_ connection: HTTPConnection) async -> Bool {
        let turn = Waiter<Bool>()
        enqueue(connection, turn)
        let isGranted = await turn.wait(cancelled: false)
        if connection.turn != nil { dequeue(connection) }
        return isGranted
    }

    @inline(never) private func enqueue(_ connection: HTTPConnection, _ turn: Waiter<Bool>) {
        busy.remove(connection)
        queued.append(connection)
        connection.turn = turn
        connection.turnEnd = clock.now + Self.queueTime
        giveMemory()
        if queueTimer == nil { grantLater() }
    }

    @inline(never) private func dequeue(_ connection: HTTPConnection) {
        connection.turn = nil
        queued.remove(connection)
        busy.append(connection)
        guard queued.first == nil, let timer = queueTimer else { return }
        clock.cancel(timer)
        queueTimer = nil
    }

    /// Gives those who wait their turn, as far as there is memory, and ends the waits that have
    /// lasted too long.
    private func grant() {
        while let connection = queued.first, let turn = connection.turn {
            let isGranted = hasExchangeMemory(connection)
            guard isGranted || clock.now >= connection.turnEnd else { return }
            if isGranted { change(connection, to: part(of: connection)) }
            dequeue(connection)
            turn.resume(isGranted)
        }
    }

    private func grantLater() {
        queueTimer = clock.schedule(at: clock.now + Self.queueInterval) { [self] in
            queueTimer = nil
            grant()
            if queued.first != nil, queueTimer == nil { grantLater() }
        }
    }

    // MARK: Giving way

    /// How long a connection rests before it gives way for memory: its request may be on its way. When
    /// another has given way within that time, it is less: the clients who came since have waited in
    /// the backlog, and what they ask is here. With a second each, 200 of them that do not ask would
    /// keep the next one waiting for ten in a guest with memory for twenty.
    private static var youth: TimeSpan { .seconds(1) }
    private static var shortYouth: TimeSpan { .milliseconds(100) }
    /// How many connections give way for memory at a time.
    private static var sacrifice: Int { 4 }

    /// Has the connection that has rested longest give way for its memory, now or as soon as it has
    /// rested long enough; false if none does now.
    @discardableResult
    @inline(never) func giveMemory() -> Bool {
        guard let connection = resting.first else { return false }
        let now = clock.now
        let isShort = lastSacrifice.map { now - $0 <= Self.youth } ?? false
        let due = connection.timer.start + (isShort ? Self.shortYouth : Self.youth)
        guard now >= due else {
            relieve(at: due)
            return false
        }
        lastSacrifice = now
        return giveWay()
    }

    /// Goes on to free memory then, until there is some to spare.
    private func relieve(at due: Instant) {
        guard relief == nil else { return }
        relief = clock.schedule(at: due) { [self] in
            relief = nil
            for _ in 0..<Self.sacrifice { if hasConnectionMemory || !giveMemory() { break } }
            if resting.first != nil, !hasConnectionMemory {
                relieve(at: clock.now + Self.youth)
            }
        }
    }
}
