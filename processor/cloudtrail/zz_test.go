package cloudtrail
import ("testing";"os";"path/filepath";"strings";"strconv";"time";"bytes";"testing/iotest")
func TestZZ(t *testing.T){
 out,_:=filepath.Glob(os.Getenv("FZ")+"/*")
 used := NewDecoder(fuzzLimits())
 type st struct{d time.Duration; n string; l int}
 var tot time.Duration
 for _,f:=range out {
  b,_:=os.ReadFile(f)
  s:=strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(string(b),"\n",2)[1],"[]byte("),")\n")
  p,err:=strconv.Unquote(s); if err!=nil {t.Log(err); continue}
  st:=time.Now()
  var c collector
  NewDecoder(fuzzLimits()).Decode([]byte(p),&c)
  a:=time.Since(st)
  used.DecodeReader(bytes.NewReader([]byte(p)),&c)
  b2:=time.Since(st)
  used.DecodeReader(iotest.HalfReader(bytes.NewReader([]byte(p))),&c)
  d:=time.Since(st)
  tot+=d
  if d>5*time.Millisecond { t.Log(a,b2,d,len(p),len(c.told), f) }
 }
 t.Log(len(out),tot)
}
