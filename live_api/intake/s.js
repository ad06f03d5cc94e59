(function(w,d,n,l){var s=d.currentScript,a=s.dataset,b=s.src.replace(/s\.js.*/,"v1/"),k=a.key?"?key="+encodeURIComponent(a.key):"",no=n.globalPrivacyControl||n.doNotTrack==1,r=d.referrer,at,q=(w.streamgauge||{}).q||[]
function id(){return Math.random().toString(36).slice(2)}
function send(t,e,p){if(no&&a.gpc=="stop")return
var i=new Date().toISOString(),x=JSON.stringify({event:e,properties:p,messageId:id()+id(),timestamp:i,sentAt:i,consent:no?!1:void 0,context:{page:{url:l.href,referrer:r}}}),u=b+t+k
if(!n.sendBeacon||!n.sendBeacon(u,x))fetch(u,{method:"POST",body:x,keepalive:!0,mode:"no-cors"})}
function page(){var h=l.href.split("#")[0]
if(h!=at){r=at||r;at=h;send("page",0,{url:l.href,path:l.pathname,title:d.title,referrer:r})}}
var h=w.history,push=h.pushState
h.pushState=function(){push.apply(h,arguments);page()}
w.addEventListener("popstate",page)
w.streamgauge=function(e,p){send("track",e,p)}
page()
q.forEach(function(c){send("track",c[0],c[1])})})(window,document,navigator,location)
