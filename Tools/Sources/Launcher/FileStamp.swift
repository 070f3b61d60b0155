import Foundation

/// What tells a file from what was at its path before: nobody can give a file a change time of old.
struct FileStamp: Codable, Equatable {
    private let device: UInt64
    private let inode: UInt64
    private let size: Int64
    /// Nanoseconds since 1970 (stat(2), st_ctim).
    let changed: Int64

    /// The stamp of the file that `path` leads to; nil if there is none.
    init?(_ path: String) {
        var status = stat()
        // SAFETY: the path is a C string for the call, and the structure outlives it.
        guard unsafe stat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        changed = Int64(status.st_ctim.tv_sec) * 1_000_000_000 + Int64(status.st_ctim.tv_nsec)
    }

    /// The time of the clock that stamps files, with its coarse tick.
    static var now: Int64 {
        var time = timespec()
        // SAFETY: the structure outlives the call.
        _ = unsafe clock_gettime(CLOCK_REALTIME_COARSE, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}

/// The names below a folder that SwiftPM could take for sources.
enum FolderListing {
    /// Whether it is the name of what editors leave beside a file that they write: hidden files,
    /// `name~`, `#name#`, and vim's 4913.
    static func isByTheWay(_ name: String) -> Bool {
        name.hasPrefix(".") || name.hasSuffix("~") || name.hasPrefix("#")
            || name.allSatisfy(\.isNumber)
    }

    /// Paths relative to `folder`, in order, without what is by the way.
    static func names(below folder: String, depth: Int = 32) -> [String] {
        guard depth > 0, let names = try? FileManager.default.contentsOfDirectory(atPath: folder)
        else { return [] }
        var result: [String] = []
        for name in names.sorted() {
            if isByTheWay(name) { continue }
            result.append(name)
            result += FolderListing.names(below: folder + "/" + name, depth: depth - 1)
                .map { name + "/" + $0 }
        }
        return result
    }

    /// The folder, if it is one, and those below it.
    static func folders(from folder: String) -> [String] {
        ([folder] + names(below: folder).map { folder + "/" + $0 })
            .filter { (try? FileManager.default.contentsOfDirectory(atPath: $0)) != nil }
    }
}
