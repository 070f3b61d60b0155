/// What a file is compared with in a conditional request.
struct HTTPValidators {
    /// The entity tag, with its quotation marks; a strong one.
    let entityTag: [UInt8]
    /// When the file was last changed.
    let lastModified: HTTPDate
    /// Whether that tells this version from every other: a file may change twice in a second
    /// (RFC 9110 section 8.8.2.2).
    let isDateStrong: Bool
}

/// What the conditions of a request say (RFC 9110 section 13.2.2).
enum HTTPConditions: Equatable {
    /// Go on as without conditions.
    case proceed
    /// The client has it already: 304.
    case notModified
    /// Not to be done: 412.
    case failed

    /// Evaluates the fields of a GET or HEAD in the order that the RFC gives.
    init(_ bytes: RawSpan, fields: Int, _ validators: HTTPValidators) {
        let match = HTTPConditions.tagMatches(
            "if-match", weak: false, bytes, fields, validators.entityTag)
        if let match {
            if !match {
                self = .failed
                return
            }
        } else if let date = HTTPConditions.date("if-unmodified-since", bytes, fields),
            validators.lastModified.seconds > date.seconds
        {
            self = .failed
            return
        }
        self = .proceed
        let noneMatch = HTTPConditions.tagMatches(
            "if-none-match", weak: true, bytes, fields, validators.entityTag)
        if let noneMatch {
            if noneMatch { self = .notModified }
        } else if let date = HTTPConditions.date("if-modified-since", bytes, fields),
            validators.lastModified.seconds <= date.seconds
        {
            self = .notModified
        }
    }

    /// Whether a `Range` is to be looked at: there is no `If-Range`, or it holds (section 13.1.5).
    static func allowRange(_ bytes: RawSpan, fields: Int, _ validators: HTTPValidators) -> Bool {
        var cursor = HTTPFieldCursor(offset: fields)
        guard let value = cursor.next("if-range", in: bytes) else { return true }
        if let date = HTTPDate(bytes, value) {
            return validators.isDateStrong && date == validators.lastModified
        }
        return same(bytes, value, validators.entityTag)
    }

    private static func date(
        _ name: StaticString, _ bytes: RawSpan, _ fields: Int
    ) -> HTTPDate? {
        var cursor = HTTPFieldCursor(offset: fields)
        // A field that is there twice is no date, and a condition without a date is ignored.
        guard let value = cursor.next(name, in: bytes), cursor.next(name, in: bytes) == nil else {
            return nil
        }
        return HTTPDate(bytes, value)
    }

    /// Whether one of the tags in the fields of that name is `tag`; nil if there is no such field.
    private static func tagMatches(
        _ name: StaticString, weak: Bool, _ bytes: RawSpan, _ fields: Int, _ tag: [UInt8]
    ) -> Bool? {
        var cursor = HTTPFieldCursor(offset: fields)
        var found = false
        while let value = cursor.next(name, in: bytes) {
            found = true
            if bytes.matches(value, "*") { return true }
            // Our tag has no comma in it, so a list may be split at each comma.
            var list = HTTPListCursor(value)
            while let element = list.next(in: bytes) {
                var candidate = element
                if candidate.count > 2, bytes.byte(candidate.lowerBound) == 0x57,
                    bytes.byte(candidate.lowerBound + 1) == ASCII.slash
                {
                    // A weak tag never matches in a strong comparison (section 8.8.3.2).
                    if !weak { continue }
                    candidate = candidate.lowerBound + 2..<candidate.upperBound
                }
                if same(bytes, candidate, tag) { return true }
            }
        }
        return found ? false : nil
    }

    private static func same(_ bytes: RawSpan, _ range: Range<Int>, _ tag: [UInt8]) -> Bool {
        guard range.count == tag.count else { return false }
        for index in 0..<tag.count where bytes.byte(range.lowerBound + index) != tag[index] {
            return false
        }
        return true
    }
}
