import Foundation

/// Hears of changes below folders, however a file is saved: written in place, put in place of another
/// one by its name, or removed (inotify(7)).
///
/// Hidden names are left out, and what editors leave beside a file while they write it: no build
/// reads those.
final class SourceWatch {
    /// Polls readable when something may have changed.
    let reader: Int32
    /// What is watched, by the kernel's number for it.
    private var folders: [Int32: String] = [:]
    private var watched: Set<String> = []
    /// Folders of which nothing is to be heard, as the kernel finds them.
    private let ignored: Set<String>

    /// Watches nothing yet, and never what is below the folders that are `ignored`.
    init(ignoring ignored: [String]) throws(LaunchError) {
        reader = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard reader >= 0 else {
            throw LaunchError(
                "cannot watch files: \(reason(errno)) (a user may watch with as many programs as "
                    + "sysctl fs.inotify.max_user_instances says)")
        }
        self.ignored = Set(ignored.compactMap(realPath))
    }

    deinit { close(reader) }

    /// Watches a folder and all below it, if it is there; O(1) if it is watched already.
    func add(_ folder: String) throws(LaunchError) {
        guard !watched.contains(folder), !isIgnored(folder) else { return }
        let events =
            IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR
        // SAFETY: the path is a C string for the call.
        let number = unsafe inotify_add_watch(reader, folder, UInt32(events))
        guard number >= 0 else {
            if errno == ENOSPC {
                throw LaunchError(
                    "cannot watch \(folder): the user watches as many folders as may be. "
                        + "Type: sysctl fs.inotify.max_user_watches=65536")
            }
            // It is gone, or no folder, or not for this user: no build reads it either.
            return
        }
        watched.insert(folder)
        // A link that leads back here, or a second way: one is enough.
        guard folders[number] == nil else { return }
        folders[number] = folder
        // After the watch has begun: a folder that comes meanwhile is heard of, or found here.
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names where !FolderListing.isByTheWay(name) { try add(folder + "/" + name) }
    }

    /// Whether anything has changed since the last call. Watches the folders that have come.
    func hasChanged() throws(LaunchError) -> Bool {
        var result = false
        while let bytes = readSome(reader), !bytes.isEmpty {
            var rest = bytes[...]
            while let event = Event(&rest) {
                if try take(event) { result = true }
            }
        }
        return result
    }

    private func take(_ event: Event) throws(LaunchError) -> Bool {
        // Too many at once: whatever they were.
        if event.mask & UInt32(IN_Q_OVERFLOW) != 0 { return true }
        if event.mask & UInt32(IN_IGNORED) != 0 {
            if let folder = folders.removeValue(forKey: event.watch) { watched.remove(folder) }
            return false
        }
        guard let folder = folders[event.watch], !FolderListing.isByTheWay(event.name) else {
            return false
        }
        let path = folder + "/" + event.name
        let isFolder = event.mask & UInt32(IN_ISDIR) != 0
        if isFolder, isIgnored(path) { return false }
        if isFolder {
            // The kernel goes on to watch a folder that was moved, whatever it is called now.
            forget(path)
            if event.mask & UInt32(IN_CREATE | IN_MOVED_TO) != 0 { try add(path) }
        }
        // A file that was only made is written to next.
        return isFolder || event.mask & UInt32(IN_CREATE) == 0 || !isRegular(path)
    }

    private func forget(_ path: String) {
        for (number, folder) in folders where folder == path || folder.hasPrefix(path + "/") {
            _ = inotify_rm_watch(reader, number)
            folders[number] = nil
        }
        watched = watched.filter { $0 != path && !$0.hasPrefix(path + "/") }
    }

    private func isIgnored(_ folder: String) -> Bool {
        !ignored.isEmpty && realPath(folder).map(ignored.contains) ?? false
    }

    /// Whether it is a file with one name: another one comes whole.
    private func isRegular(_ path: String) -> Bool {
        var status = stat()
        // SAFETY: the path is a C string for the call, and the structure outlives it.
        return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
            && status.st_nlink == 1
    }

    /// One event as the kernel writes it: a watch, what happened, a number that joins both halves of
    /// a move, and a name that is filled up with zeros.
    private struct Event {
        let watch: Int32
        let mask: UInt32
        let name: String

        /// Takes the first of the events in `bytes`.
        init?(_ bytes: inout ArraySlice<UInt8>) {
            guard bytes.count >= 16 else { return nil }
            let fields = stride(from: 0, to: 16, by: 4).map { offset in
                (0..<4).reduce(UInt32(0)) {
                    $0 | UInt32(bytes[bytes.startIndex + offset + $1]) << UInt32(8 * $1)
                }
            }
            watch = Int32(bitPattern: fields[0])
            mask = fields[1]
            let end = 16 + Int(fields[3])
            guard bytes.count >= end else { return nil }
            name = String(
                decoding: bytes.dropFirst(16).prefix(end - 16).prefix { $0 != 0 }, as: UTF8.self)
            bytes = bytes.dropFirst(end)
        }
    }
}

extension ImageBuild {
    /// The file in which SwiftPM keeps what it has planned for the package in `folder`.
    func plan(of folder: String) -> String {
        "\(ImageBuild.scratch(of: folder))/\(configuration).yaml"
    }

    /// The folders with sources that a build of the package in `folder` reads: its own, and those of
    /// the packages it depends on by path, as far as a build has found them.
    func sourceFolders(of folder: String) -> Set<String> {
        var result: Set = [folder]
        guard let text = try? String(contentsOfFile: plan(of: folder), encoding: .utf8),
            let manifest = BuildManifest(text)
        else { return result }
        for input in manifest.commands.values.flatMap(\.inputs)
        where input.hasPrefix("/") && !input.hasPrefix(folder + "/") {
            let place = (input as NSString).deletingLastPathComponent
            // What is there was made by a build.
            if !place.contains("/.build/") { result.insert(place) }
        }
        return result
    }
}
