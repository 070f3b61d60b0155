import ToroCore

/// What is known of the version of an open file.
@Core struct FileVersion {
    /// The attributes of the version.
    private(set) var attributes: FileAttributes
    /// Whether they are from after the opening, and every later change has another time.
    private(set) var isSure = false
    private let clock: any Timekeeper

    /// The version that the opening told of, which may be old.
    init(_ file: any OpenFile, _ clock: any Timekeeper) {
        attributes = file.attributes
        self.clock = clock
    }

    /// Whether every later change has another time.
    var isSettled: Bool { attributes.isSettled(at: clock.wallTime) }

    /// Asks whether the file is this version now; false, and the new one known, if it is not.
    mutating func confirm(
        _ file: any OpenFile, _ service: HTTPService
    ) async throws(FileError) -> Bool {
        // A change within the same step of the file's clock would not show.
        if !isSettled { _ = await service.pause(FileAttributes.stampInterval) }
        let now = try await file.currentAttributes()
        let isSame = now.isSameVersion(as: attributes)
        update(now)
        if isSame { isSure = true }
        return isSame
    }

    /// Takes attributes from after the opening.
    mutating func update(_ now: FileAttributes) {
        attributes = now
        isSure = isSettled
    }
}

extension FileAttributes {
    /// How long a change that follows another one may leave no trace: the clock by which Linux
    /// stamps files moves in steps of up to 10 ms.
    static var stampInterval: TimeSpan { .milliseconds(12) }

    /// Whether these are of the same version of the same file as `other`: length and time of
    /// change. Names and permissions do not matter, so a file that is replaced by `rename` while it
    /// is sent stays what it is.
    func isSameVersion(as other: FileAttributes) -> Bool {
        identity == other.identity && size == other.size && modified == other.modified
    }

    /// Whether every change from now on has another time than the last one. The two clocks may be
    /// a second apart; without a clock nothing is known, and the file is taken as settled.
    func isSettled(at now: WallTime?) -> Bool {
        guard let now else { return true }
        return modified.seconds < now.seconds && now.seconds - modified.seconds > 2
    }
}

extension FileError {
    /// Whether there may be enough of what was missing in a moment.
    var isScarcity: Bool { self == .outOfMemory || self == .tooManyOpenFiles }
}
