package clients

import "time"

// IdleLimit is how long the session may sleep that may do so for longest; zero for
// ever.
func (r Registry) IdleLimit() time.Duration {
	var longest time.Duration
	for _, c := range r.clients {
		if c.Policy.IdleLimit == 0 {
			return 0
		}
		longest = max(longest, c.Policy.IdleLimit)
	}
	return longest
}

// IdleLimit is that of the registry in force, and at least the default.
func (l *Live) IdleLimit() time.Duration {
	r := l.Registry()
	if len(r.clients) == 0 {
		return l.defaults.IdleLimit
	}
	longest := r.IdleLimit()
	if longest == 0 || l.defaults.IdleLimit == 0 {
		return 0
	}
	return max(longest, l.defaults.IdleLimit)
}
